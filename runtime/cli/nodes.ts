/** `muster nodes`: who is there. */
import { type NodeLine, nodeLineOf } from '../../actors/membership.ts'
import type { EndpointLine } from '../../actors/prober.ts'
import { ago, elapsed } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { table } from './table.ts'
import type { Colors } from './terminal.ts'

export interface NodesFlags {
  endpoints?: true
}

export async function nodes(invocation: Invocation, flags: NodesFlags): Promise<number> {
  const { terminal } = invocation
  const { muster } = await locate(invocation)
  if (flags.endpoints === true) {
    const found = await muster.endpoints()
    const lines = terminal.json
      ? found.map((endpoint) => JSON.stringify(endpoint))
      : endpointTable(found, Date.now(), terminal.out)
    await terminal.print(lines.map((line) => `${line}\n`).join(''))
    return exitCodes.ok
  }
  const all = await muster.nodes()
  const lines = terminal.json
    ? all.map((node) => JSON.stringify(nodeLineOf(node)))
    : nodeTable(all, Date.now(), terminal.out)
  await terminal.print(lines.map((line) => `${line}\n`).join(''))
  return exitCodes.ok
}

const heading = ['NODE', 'STATE', 'ROLES', 'LOAD', 'SEEN', 'HOST', 'PID', 'LABELS', 'KINDS']

/** Lines for people, each column as wide as what is in it. */
export function nodeTable(all: readonly NodeLine[], now: number, colors: Colors): string[] {
  const rows = all.map((node) => cellsOf(node, now))
  return table(heading, rows, (state, column) =>
    column === 1 ? colorOf(state, colors) : undefined,
  )
}

const endpointHeading = ['HOST', 'STATE', 'LATENCY', 'OK', 'PROBED', 'URL', 'ERROR']

/** The same of hosts that are probed. */
function endpointTable(all: readonly EndpointLine[], now: number, colors: Colors): string[] {
  const rows = all.map((endpoint) => [
    endpoint.name,
    endpoint.state,
    elapsed(endpoint.latencyMs),
    `${Math.round(endpoint.successRate * 100)} %`,
    endpoint.probedAt === undefined ? '' : ago(endpoint.probedAt, now),
    endpoint.url,
    endpoint.lastError ?? '',
  ])
  return table(endpointHeading, rows, (state, column) => {
    if (column !== 1) return undefined
    if (state.startsWith('offline')) return colors.red
    return state.startsWith('online') ? colors.green : colors.yellow
  })
}

function cellsOf(node: NodeLine, now: number): string[] {
  const labels = Object.entries(node.labels).map(([name, value]) => `${name}=${value}`)
  return [
    node.id,
    node.state,
    node.roles.join(','),
    String(node.load),
    ago(node.lastSeen, now),
    node.host,
    String(node.pid),
    labels.join(','),
    node.kinds.join(','),
  ]
}

function colorOf(state: string, colors: Colors): (text: string) => string {
  if (state === 'dead') return colors.red
  return state === 'alive' ? colors.green : colors.yellow
}
