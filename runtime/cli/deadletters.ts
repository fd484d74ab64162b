/** `muster deadletters ls`, `show` and `redrive`: what died, of what, and another try. */
import { UsageError } from '../../actors/errors.ts'
import type { Crash, LetterReason } from '../../actors/ports-letters.ts'
import type { LetterLine, LettersQuery, Redriven, WholeLetterLine } from '../client-letters.ts'
import { ago } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { printable } from './report.ts'
import { table } from './table.ts'

export interface FilterFlags {
  run?: string
  kind?: string
  mailbox?: string
  reasonClass?: LetterReason | 'stopped'
}

export interface LetterListFlags extends FilterFlags {
  /** Only those that nobody has redriven. */
  open?: boolean
}

export interface RedriveFlags extends FilterFlags {
  all?: boolean
  reason?: string
}

/** Rows shown as a table; as JSON there is no limit. */
const rowsMax = 1000

export async function letterList(invocation: Invocation, flags: LetterListFlags): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const state = flags.open === true ? { state: 'open' as const } : {}
    const rows: LetterLine[] = []
    let isCut = false
    for await (const letter of located.muster.deadLetters.all({ ...queryOf(flags), ...state })) {
      if (terminal.json) await terminal.print(`${JSON.stringify(letter)}\n`)
      else if (rows.length < rowsMax) rows.push(letter)
      else isCut = true
      if (terminal.closed || isCut) break
    }
    if (rows.length > 0) await terminal.print(`${letterTable(rows, Date.now()).join('\n')}\n`)
    else if (!terminal.json) terminal.say('no dead letters')
    if (isCut) terminal.say(`the newest ${rowsMax}; filter, or --json for all`)
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

export async function letterShow(invocation: Invocation, id: string): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const letter = await located.muster.deadLetters.get(id)
    const lines = terminal.json ? [JSON.stringify(letter)] : letterLines(letter)
    await terminal.print(`${lines.join('\n')}\n`)
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

export async function letterRedrive(
  invocation: Invocation,
  ids: readonly string[],
  flags: RedriveFlags,
): Promise<number> {
  const { reason = '' } = flags
  const wanted = wantedOf(ids, flags)
  if (reason.trim() === '') {
    throw new UsageError('deadletters redrive: expected --reason TEXT: why, for the record')
  }
  const { terminal } = invocation
  // Where no node runs, the tasks are accepted and wait for the next one.
  const located = await locate(invocation, { roles: ['dispatcher'] })
  try {
    const done = await located.muster.deadLetters.redrive(wanted, reason.trim())
    if (terminal.json) await terminal.print(`${JSON.stringify(done)}\n`)
    for (const { id, message } of done.refused) terminal.warn(`${printable(id)}: ${message}`)
    sayRedriven(done, (line) => terminal.say(line))
    if (located.isHere && done.redriven.length > 0) {
      terminal.say('no node runs here: they wait for the next one (muster start)')
    }
    return done.refused.length > 0 ? exitCodes.notOk : exitCodes.ok
  } finally {
    await located.stop()
  }
}

function sayRedriven({ redriven, refused, more }: Redriven, say: (line: string) => void): void {
  const places = Map.groupBy(redriven, ({ run, mailbox }) => run ?? `mailbox ${mailbox ?? ''}`)
  for (const [place, { length }] of places) {
    const what = length === 1 ? '1 dead letter' : `${length} dead letters`
    say(`${what} redriven as ${place}`)
  }
  if (redriven.length === 0 && refused.length === 0) say('there is nothing to redrive')
  if (more === true) say('there are more of them: the same command again')
}

function wantedOf(
  ids: readonly string[],
  flags: RedriveFlags,
): { ids: readonly string[] } | { filter: Omit<LettersQuery, 'state'> } {
  const filter = queryOf(flags)
  const hasFilter = flags.all === true || Object.keys(filter).length > 0
  if (ids.length > 0 && !hasFilter) return { ids }
  if (ids.length === 0 && hasFilter) return { filter }
  const got = ids.length > 0 ? 'both' : 'neither'
  throw new UsageError(
    `deadletters redrive: expected IDs or a filter (--all for all of them), got ${got}`,
  )
}

function queryOf({ run, kind, mailbox, reasonClass }: FilterFlags): LettersQuery {
  return {
    ...(run === undefined ? {} : { run }),
    ...(kind === undefined ? {} : { kind }),
    ...(mailbox === undefined ? {} : { mailbox }),
    ...(reasonClass === undefined ? {} : { reason: reasonClass }),
  }
}

const heading = ['ID', 'AGE', 'REASON', 'MAILBOX', 'KIND', 'STATE', 'REDRIVES', 'ERROR']

function letterTable(letters: readonly LetterLine[], now: number): string[] {
  const rows = letters.map((letter) => {
    if (letter.scope === 'local') {
      const { at, reason, to, type } = letter
      return ['', ago(at, now), reason, to, type, '', '', 'a message between actors of this node']
    }
    const { id, at, reason, mailbox, kind = '', state, redrives, error } = letter
    return [id, ago(at, now), reason, mailbox, kind, state, String(redrives), error.message]
  })
  return table(heading, rows)
}

function letterLines(letter: WholeLetterLine): string[] {
  const { id, at, mailbox, reason, run, seq, kind, error, chain, origin, task, message } = letter
  const { state, redrives, redrivenAs = [], redriveOf } = letter
  const lines = [
    field('letter', id),
    field('reason', reason),
    field('error', `${error.code}: ${error.message}`),
    field('mailbox', mailbox),
    field('kind', kind),
    field('task', seq === undefined ? undefined : `${run}/${seq}`),
    field('run', seq === undefined ? run : undefined),
    field('since', time(at)),
    field('kept by', origin.node),
    ...chain.map((crash, index) => field(index === 0 ? 'crashes' : '', crashText(crash))),
    field('state', state),
    field('redrives', String(redrives)),
    field('as', redrivenAs.length === 0 ? undefined : redrivenAs.join(', ')),
    field('redrive of', redriveOf),
    field('line', task === undefined ? undefined : JSON.stringify(task)),
    field('message', message === undefined ? undefined : message.id),
    field('body', message === undefined ? undefined : JSON.stringify(message.body)),
  ]
  return lines.filter((line) => line !== '')
}

function crashText({ at, node, worker }: Crash): string {
  if (at === undefined) return 'a worker nobody noted'
  return `${worker ?? 'a worker'} on ${node ?? 'some node'}, which began it at ${time(at)}`
}

function field(name: string, value: string | undefined): string {
  return value === undefined ? '' : `${name.padEnd(11)}${printable(value)}`
}

function time(ms: number): string {
  return new Date(ms).toISOString()
}
