/** `muster state`, `state set` and `state history`; `pause` and `resume` of the whole system. */
import { UsageError } from '../../actors/errors.ts'
import type { SystemEntry } from '../../actors/ports-system.ts'
import { isSystemState, type SystemState, systemStates } from '../../machines/system-rules.ts'
import type { SystemAnswer } from '../client-system.ts'
import { ago } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { type Located, locate } from './locate.ts'
import { printable } from './report.ts'
import { table } from './table.ts'
import { healthLine } from './top-frame.ts'

export interface ReasonFlags {
  reason?: string
}

export function state(invocation: Invocation): Promise<number> {
  return withNode(invocation, async ({ muster }) => show(invocation, await muster.system.get()))
}

export async function stateSet(
  invocation: Invocation,
  name: string,
  { reason = '' }: ReasonFlags,
): Promise<number> {
  const to = name.toUpperCase()
  if (!isSystemState(to)) {
    throw new UsageError(`state: expected one of ${systemStates.join(', ')}, got '${name}'`)
  }
  if (reason.trim() === '') {
    throw new UsageError('state set: expected --reason TEXT: why it is changed, for the record')
  }
  return withNode(invocation, (located) => change(invocation, located, to, reason))
}

export function stateHistory(invocation: Invocation): Promise<number> {
  const { terminal } = invocation
  return withNode(invocation, async ({ muster }) => {
    const entries: SystemEntry[] = []
    for await (const entry of muster.system.history()) {
      if (terminal.json) await terminal.print(`${JSON.stringify(entry)}\n`)
      else entries.push(entry)
    }
    if (entries.length > 0) {
      const lines = table(['AT', 'NODE', 'FROM', 'TO', 'BY', 'REASON'], entries.map(cellsOf))
      await terminal.print(lines.map((line) => `${line}\n`).join(''))
    } else if (!terminal.json) terminal.say('no transition has been noted yet')
    return exitCodes.ok
  })
}

/** The whole system, on all nodes. */
export function pauseAll(invocation: Invocation, { reason }: ReasonFlags): Promise<number> {
  return withNode(invocation, (located) =>
    change(invocation, located, 'PAUSED', reason ?? 'by the command line'),
  )
}

export function resumeAll(invocation: Invocation, { reason }: ReasonFlags): Promise<number> {
  const { terminal } = invocation
  return withNode(invocation, async (located) => {
    const now = await located.muster.system.get()
    if (now.state === 'PAUSED') {
      return change(invocation, located, 'RECOVERY', reason ?? 'by the command line')
    }
    if (!terminal.json) terminal.say('the system is not paused')
    return show(invocation, now)
  })
}

async function withNode(
  invocation: Invocation,
  act: (located: Located) => Promise<number>,
): Promise<number> {
  const located = await locate(invocation, { roles: [] })
  try {
    return await act(located)
  } finally {
    await located.stop()
  }
}

async function change(
  invocation: Invocation,
  { muster }: Located,
  to: SystemState,
  reason: string,
): Promise<number> {
  return show(invocation, await muster.system.set(to, reason, userName()))
}

async function show({ terminal }: Invocation, answer: SystemAnswer): Promise<number> {
  const { state: name, since, reason, actor, effect, note, noop, health } = answer
  if (terminal.json) {
    await terminal.print(`${JSON.stringify(answer)}\n`)
    return exitCodes.ok
  }
  const { out } = terminal
  const color = name === 'OPERATIONAL' ? out.green : name === 'PAUSED' ? out.red : out.yellow
  const already = noop === true ? 'already ' : ''
  const when = ago(since, Date.now())
  const lines = [
    `${already}${color(name)}  since ${when}, by ${printable(actor)}: ${printable(reason)}`,
    `admission × ${effect.admission}, concurrency × ${effect.concurrency}`,
    ...(note === undefined ? [] : [printable(note)]),
    ...(health === undefined ? [] : [healthLine(answer, out)]),
  ]
  await terminal.print(lines.map((line) => `${line}\n`).join(''))
  return exitCodes.ok
}

function cellsOf({ at, node, from, to, actor, reason, noop }: SystemEntry): string[] {
  const why = printable(reason).replaceAll('\n', ' ')
  return [
    new Date(at).toISOString(),
    node,
    from,
    to,
    printable(actor),
    noop === true ? `${why} (no change)` : why,
  ]
}

function userName(): string {
  const { USER, LOGNAME } = process.env
  return USER || LOGNAME || 'operator'
}
