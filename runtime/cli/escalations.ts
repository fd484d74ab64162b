/** `muster escalations` and `muster escalations ack`: of what there is too much. */
import type { EscalationLine } from '../../actors/escalation-list.ts'
import { ago } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { table } from './table.ts'

export interface EscalationFlags {
  all?: boolean
}

export async function escalationList(
  invocation: Invocation,
  { all = false }: EscalationFlags,
): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const items = await located.muster.escalations({ all })
    const lines = terminal.json
      ? items.map((item) => JSON.stringify(item))
      : escalationTable(items, Date.now())
    if (terminal.json || items.length > 0) {
      await terminal.print(lines.map((line) => `${line}\n`).join(''))
    } else terminal.say('no escalation is open')
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

export async function escalationAck(
  invocation: Invocation,
  metric: string,
  { reason }: { reason?: string },
): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const item = await located.muster.acknowledgeEscalation(metric, reason)
    if (terminal.json) await terminal.print(`${JSON.stringify(item)}\n`)
    else terminal.say(`escalation ${item.metric} is acknowledged; it closes when it has been calm`)
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

const heading = ['METRIC', 'STATE', 'WINDOW', 'THRESHOLD', 'PEAK', 'OPENED', 'REASON']

function escalationTable(items: readonly EscalationLine[], now: number): string[] {
  const rows = items.map((item) => [
    item.metric,
    item.state,
    item.window === null ? `unknown (${item.atLeast ?? 0} or more)` : String(item.window),
    String(item.threshold),
    String(item.peak),
    ago(item.openedAt, now),
    item.reason ?? '',
  ])
  return table(heading, rows)
}
