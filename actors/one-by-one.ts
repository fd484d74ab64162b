/**
 * The tasks of an envelope one after the other: where order counts, and where it must be known
 * which of them takes its worker down. That is known for certain of one that ran alone in its
 * process: only such a one is condemned.
 */
import { backoffMs } from '../machines/backoff.ts'
import {
  contextOf,
  heldBack,
  isSuspect,
  type Job,
  runTask,
  tokenFor,
  type Work,
} from './attempt.ts'
import { describeError } from './errors.ts'
import { crashNotes, runnerNote } from './letters.ts'
import type { Limiter } from './limits.ts'
import type { Meter } from './meter.ts'
import { mayBeginOnce, type OnceOptions } from './once.ts'
import { type Delivery, diedNote, type Log } from './ports.ts'
import { attemptOf, type Ending, isRetried, type SettlementOptions } from './settlement.ts'

export interface OneByOneOptions extends SettlementOptions, OnceOptions {
  /** Deaths while one marked task was running that make it poison, once it has died alone. */
  poisonKills: number
  /** Aborted when the node begins to drain: what it takes away from then on is not blamed. */
  drain: AbortSignal
  limiter: Limiter
  meter?: Meter
  log: Log
}

/** Noted deaths of its worker while a task was running. */
interface Deaths {
  /** Those that somebody has seen, and those that can be counted of the others. */
  marked: number
  /** Of the others: it lost its lock, and may only have been slow. */
  losses: number
  /** At least once nothing else ran in its process. */
  alone: boolean
}

/** So many lost workers, and nobody condemned: perhaps one goes off a moment after its end. */
const lateAfter = 2
/** As long as each of them stays noted then, ms. */
const lateMs = 20

/**
 * A lock may be lost by one that is alive, on a machine with too much to do. So often it has to be
 * before that counts as one death.
 */
const lossesADeath = 3

const noDeaths: Deaths = { marked: 0, losses: 0, alone: false }

const nothingRuns = { running: '', runningAlone: '', [diedNote]: '' }

/**
 * Where care is taken each task is noted before it runs. One that was noted when its worker died
 * has its process to itself from then on: dies it again, it is poison, and whoever only ran beside
 * it is not made to suffer for it.
 * @returns those that wait until their run goes on
 */
export async function runOneByOne(
  options: OneByOneOptions,
  work: Work,
  jobs: readonly Job[],
  careful: boolean,
): Promise<Job[]> {
  const { delivery, hand, slots, settling, notes, stay } = work
  const deaths = await countDeaths(delivery, notes)
  hand.progress()
  if (careful) acquitWhenDrained(options, delivery)
  if (isSuspect(work)) stay.suspect()
  const parked: Job[] = []
  for (const job of jobs) {
    const before = endedBefore(options, work, job, deaths)
    if (before === undefined) await takeToken(options, work, job)
    // What comes after one that waits must not overtake it, though the run goes on meanwhile.
    const isBehind = options.ordered && parked.length > 0 ? 'park' : undefined
    const known = before ?? heldBack(options, work, job) ?? isBehind
    if (known === 'park') parked.push(job)
    else if (known !== undefined) settling.add(known)
    if (known !== undefined) continue
    const isAlone = deaths.has(job.seq)
    // Whoever has the process next, what has ended here must not be noted as running alone.
    if (stay.isAlone && !isAlone) await delivery.note(nothingRuns)
    await (isAlone ? stay.alone() : stay.together())
    await takeSlot(work)
    try {
      if (delivery.signal.aborted) break
      const held = heldBack(options, work, job)
      const ending = held ?? (await runNoted(options, work, job, careful, isAlone))
      if (ending === 'park') parked.push(job)
      else if (ending === 'of another') continue
      else if ('waits' in ending) parked.push(ending.waits)
      else settling.add(ending)
    } finally {
      slots.give()
    }
  }
  if (careful) await delivery.note(nothingRuns)
  return parked
}

/** What a node hands back as it goes has not taken it down. */
function acquitWhenDrained({ drain, log }: OneByOneOptions, delivery: Delivery): void {
  const acquit = () => {
    if (!drain.aborted) return
    delivery.note(nothingRuns).catch((error: unknown) => {
      log.debug(describeError(error), 'a task that was handed back stays noted as running')
    })
  }
  delivery.signal.addEventListener('abort', acquit, { once: true })
}

/** Others have the slots: that none gets free is their fault. */
async function takeSlot({ hand, held, slots, stand }: Work): Promise<void> {
  const wait = slots.take(held.signal, stand)
  if (wait === undefined) return
  hand.pause()
  await wait
  hand.resume()
}

/** Before it is noted as begun: whoever waits here has not been run. */
async function takeToken(options: OneByOneOptions, work: Work, job: Job): Promise<void> {
  const token = tokenFor(options, work, job)
  if (token === undefined) return
  work.hand.pause()
  await token
  work.hand.resume()
}

/** The ending of a task that must not be run (again), as far as earlier deliveries noted. */
function endedBefore(
  options: OneByOneOptions,
  work: Work,
  job: Job,
  deaths: ReadonlyMap<number, Deaths>,
): Ending | undefined {
  const { notes } = work
  const { marked, alone } = deaths.get(job.seq) ?? noDeaths
  if (alone && marked >= options.poisonKills) {
    const message = `its worker died ${marked + 1} times while it ran; it is not run again`
    return deadEnding(options, work, job, { code: 'POISON', message })
  }
  if (job.task.delivery !== 'at-most-once') return undefined
  const ended = notes[`ended:${job.seq}`]
  if (ended !== undefined) return { ...job, ...(JSON.parse(ended) as Omit<Ending, 'task'>) }
  if (notes[`started:${job.seq}`] === undefined) return undefined
  const message = 'its worker was lost while it ran, and it must not run twice'
  return deadEnding(options, work, job, { code: 'AT_MOST_ONCE', message })
}

/**
 * Runs a task, in order as often as it is retried, and notes what a later delivery must know.
 * @returns how it ended; or that it waits for its next attempt until its run goes on; or that
 * another envelope has it
 */
async function runNoted(
  options: OneByOneOptions,
  work: Work,
  job: Job,
  careful: boolean,
  isAlone: boolean,
): Promise<Ending | { waits: Job } | 'of another'> {
  const { delivery, hand } = work
  const once = job.task.delivery === 'at-most-once'
  const runner = runnerNote(options)
  // In order there are earlier ones only of what was put back between two of them.
  let attempt = work.envelope.attempt + (options.ordered ? job.history.length : 0)
  if (once && !(await mayBeginOnce(options, work, job.seq, attempt))) return 'of another'
  if (once) await delivery.note({ [`started:${job.seq}`]: runner })
  else if (careful) {
    const runningAlone = isAlone ? '1' : ''
    await delivery.note({ running: String(job.seq), runningAlone, runner })
    // Who was cut off hears that it is noted when others have it.
    delivery.signal.throwIfAborted()
  }
  let ending = await runWatched(options, work, job, attempt)
  while (options.ordered && isRetried(options, ending) && !delivery.signal.aborted) {
    const history = [...ending.history, attemptOf(options, ending)]
    hand.pause()
    const waitMs = backoffMs(options.retry, attempt, options.random())
    await options.clock.wait(waitMs, work.held.signal)
    hand.resume()
    await takeToken(options, work, job)
    if (delivery.signal.aborted) break
    const held = heldBack(options, work, { ...job, history })
    if (held === 'park') return { waits: { ...job, history } }
    if (held !== undefined) return held
    attempt += 1
    ending = await runWatched(options, work, { ...job, history }, attempt)
  }
  if (careful && delivery.redeliveries >= lateAfter) {
    hand.pause()
    await options.clock.wait(lateMs, delivery.signal)
    hand.resume()
  }
  // The envelope is settled as a whole: its worker may be lost while it runs the next task.
  if (once && !delivery.signal.aborted) {
    const { task: _, ...rest } = ending
    await delivery.note({ [`ended:${job.seq}`]: JSON.stringify(rest) })
    hand.progress()
  }
  return ending
}

/** An attempt of which the envelope's hand is told when it begins and ends. */
async function runWatched(
  options: OneByOneOptions,
  work: Work,
  job: Job,
  attempt: number,
): Promise<Ending> {
  work.hand.progress()
  const ending = await runTask(options, work, job, contextOf(options, work, job, attempt))
  work.hand.progress()
  return ending
}

/** What was noted of each task that ran when its worker died; counts the last death. */
async function countDeaths(
  delivery: Delivery,
  notes: Record<string, string>,
): Promise<Map<number, Deaths>> {
  const deaths = new Map<number, Deaths>()
  for (const [field, count] of Object.entries(notes)) {
    if (!field.startsWith('kills:')) continue
    const seq = Number(field.slice(6))
    const losses = Number(notes[`losses:${seq}`] ?? 0)
    deaths.set(seq, { marked: Number(count), losses, alone: notes[`alone:${seq}`] !== undefined })
  }
  const running = notes['running'] ?? ''
  if (running === '') {
    // Of the next loss it would say nothing.
    if (notes[diedNote] === '1') await delivery.note(nothingRuns)
    return deaths
  }
  const seq = Number(running)
  const before = deaths.get(seq) ?? noDeaths
  const alone = before.alone || notes['runningAlone'] === '1'
  const isSeen = notes[diedNote] === '1'
  const losses = before.losses + (isSeen ? 0 : 1)
  const isDeath = isSeen || losses % lossesADeath === 0
  const marked = before.marked + (isDeath ? 1 : 0)
  deaths.set(seq, { marked, losses, alone })
  const counted = {
    [`kills:${seq}`]: String(marked),
    [`losses:${seq}`]: String(losses),
    ...(isDeath ? crashNotes(notes, seq, marked) : {}),
    ...(alone ? { [`alone:${seq}`]: '1' } : {}),
    ...nothingRuns,
  }
  await delivery.note(counted)
  // Those of its tasks that wait for their run come here again.
  Object.assign(notes, counted)
  return deaths
}

function deadEnding(
  options: OneByOneOptions,
  { envelope }: Work,
  job: Job,
  error: { code: string; message: string },
): Ending {
  return {
    ...job,
    outcome: 'dead',
    startedAt: options.clock.now(),
    durationMs: 0,
    execution: { outcome: 'failed', error, stage: 'terminal' },
    attempt: envelope.attempt,
  }
}
