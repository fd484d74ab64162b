/** What Redis keeps of a run, and says of it, as the accounting port has it. */
import { type Envelope, endedByParent } from '../../actors/envelope.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type {
  HaltPolicy,
  Hold,
  OpenRun,
  Run,
  RunNotice,
  RunProgress,
  RunState,
  Share,
} from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import { noCounts, outcomeOf, outcomes } from '../../machines/outcome.ts'

/** What HGETALL says inside a script: fields and values in turn. */
export function fieldsOf(flat: readonly string[]): Record<string, string> {
  const record: Record<string, string> = {}
  for (let at = 0; at < flat.length; at += 2) record[flat[at] ?? ''] = flat[at + 1] ?? ''
  return record
}

export function readProgress(record: Record<string, string>, rejected: Rejection[]): RunProgress {
  const number = (field: string) => Number(record[field] ?? 0)
  const counts = noCounts()
  for (const outcome of outcomes) counts[outcome] = number(outcome)
  const total = number('accepted')
  counts.pending = total - number('done')
  const finishedAt = record['finishedAt'] === undefined ? undefined : number('finishedAt')
  const hold = record['hold'] as Hold | undefined
  const isPaused = hold === 'paused' && finishedAt === undefined
  const halt = readHalt(record)
  const run: Run = {
    id: record['id'] ?? '',
    state: isPaused ? 'paused' : ((record['state'] ?? 'accepting') as RunState),
    total,
    counts,
    rejectedCount: number('rejected'),
    rejected,
    ...(record['parent'] === undefined ? {} : { parent: record['parent'] }),
    ...(record['reason'] === undefined ? {} : { reason: record['reason'] }),
    ...(record['stopReason'] === undefined ? {} : { stopReason: record['stopReason'] }),
    createdAt: number('createdAt'),
    ...(finishedAt === undefined
      ? {}
      : { finishedAt, durationMs: Math.max(0, finishedAt - number('createdAt')) }),
    ...(record['labels'] === undefined
      ? {}
      : { labels: JSON.parse(record['labels']) as Record<string, string> }),
  }
  return {
    run,
    ...(hold === undefined ? {} : { hold }),
    ...(halt === undefined ? {} : { halt }),
    ...(record['window'] === undefined ? {} : { window: JSON.parse(record['window']) as Share }),
    lines: number('lines'),
    accepted: total,
    spooled: number('spooled'),
    parked: number('parked'),
    closed: record['closed'] === '1',
    driver: record['driver'] ?? '',
    ...(record['fence'] === undefined
      ? {}
      : { fence: JSON.parse(record['fence']) as FencingToken }),
    ...((record['content'] ?? '') === '' ? {} : { content: record['content'] ?? '' }),
    ...(record['linesHash'] === undefined ? {} : { linesHash: record['linesHash'] }),
    ...(record['feeder'] === undefined ? {} : { feeder: record['feeder'] }),
  }
}

export function readNotice(message: string): RunNotice {
  const [run = '', done, state, hold, mailbox = '-', parked, letGo] = message.split(' ')
  return {
    run,
    done: Number(done),
    state: state as RunState,
    ...(hold === '-' ? {} : { hold: hold as Hold }),
    ...(mailbox === '-' ? {} : { mailbox }),
    ...(parked === '0' ? {} : { parked: Number(parked) }),
    ...(letGo === '0' ? {} : { spoolFilled: true }),
  }
}

/** An envelope of a spool; `!seq:code` before it: a task it waited for ended so. */
export function readSpooled(entry: string): Envelope {
  if (!entry.startsWith('!')) return JSON.parse(entry) as Envelope
  const space = entry.indexOf(' ')
  const [seq, code] = entry.slice(1, space).split(':')
  const outcome = outcomeOf(Number(code)) ?? 'failed'
  return endedByParent(JSON.parse(entry.slice(space + 1)) as Envelope, Number(seq), outcome)
}

/** The fields of a record that is opened, and their values. */
export function recordOf(run: OpenRun): (string | number)[] {
  const { halt, window } = run
  const fields: Record<string, string | number | undefined> = {
    id: run.id,
    state: 'accepting',
    createdAt: run.createdAt,
    driver: run.driver,
    lines: 0,
    accepted: 0,
    spooled: 0,
    done: 0,
    reason: run.reason,
    fence: jsonOf(run.fence),
    parent: run.parent,
    labels: jsonOf(run.labels),
    window: jsonOf(window),
    haltMode: halt?.mode,
    haltTasks: halt !== undefined && 'tasks' in halt.fail ? halt.fail.tasks : undefined,
    haltPercent: halt !== undefined && 'percent' in halt.fail ? halt.fail.percent : undefined,
  }
  return Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [name, value],
  )
}

const jsonOf = (value: object | undefined) =>
  value === undefined ? undefined : JSON.stringify(value)

function readHalt(record: Record<string, string>): HaltPolicy | undefined {
  const { haltMode: mode, haltTasks: tasks, haltPercent: percent } = record
  if (mode !== 'soon' && mode !== 'now') return undefined
  return {
    mode,
    fail: tasks === undefined ? { percent: Number(percent) } : { tasks: Number(tasks) },
  }
}
