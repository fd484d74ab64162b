/**
 * The tasks of an envelope one after the other: where order counts, and where it must be known
 * which of them takes its worker down.
 */
import { backoffMs } from '../machines/backoff.ts'
import { heldBack, type Job, runTask, type Work } from './attempt.ts'
import type { Delivery } from './ports.ts'
import { attemptOf, type Ending, isRetried, type SettlementOptions } from './settlement.ts'

export interface OneByOneOptions extends SettlementOptions {
  /** Crashes while one marked task was running that make it poison. */
  poisonKills: number
}

/**
 * Where care is taken each task is noted before it runs: one that was noted and took its worker
 * down too often is poison, and its neighbours are not made to suffer for it.
 * @returns those that wait until their run goes on
 */
export async function runOneByOne(
  options: OneByOneOptions,
  work: Work,
  jobs: readonly Job[],
  careful: boolean,
): Promise<Job[]> {
  const { delivery, hand, slots, settling, notes } = work
  const kills = await countKills(delivery, notes)
  hand.progress()
  const parked: Job[] = []
  for (const job of jobs) {
    const known = endedBefore(options, work, job, kills) ?? heldBack(options, work, job)
    if (known === 'park') parked.push(job)
    else if (known !== undefined) settling.add(known)
    if (known !== undefined) continue
    await takeSlot(work)
    try {
      if (delivery.signal.aborted) break
      settling.add(await runNoted(options, work, job, careful))
    } finally {
      slots.give()
    }
  }
  if (careful) await delivery.note({ running: '' })
  return parked
}

/** Others have the slots: that none gets free is their fault. */
async function takeSlot({ hand, slots }: Work): Promise<void> {
  const wait = slots.take()
  if (wait === undefined) return
  hand.pause()
  await wait
  hand.resume()
}

/** The ending of a task that must not be run (again), as far as earlier deliveries noted. */
function endedBefore(
  options: OneByOneOptions,
  work: Work,
  job: Job,
  kills: Map<number, number>,
): Ending | undefined {
  const { notes } = work
  const killed = kills.get(job.seq) ?? 0
  if (killed >= options.poisonKills) {
    const message = `its worker died ${killed + 1} times while it ran; it is not run again`
    return deadEnding(options, work, job, { code: 'POISON', message })
  }
  if (job.task.delivery !== 'at-most-once') return undefined
  const ended = notes[`ended:${job.seq}`]
  if (ended !== undefined) return { ...job, ...(JSON.parse(ended) as Omit<Ending, 'task'>) }
  if (notes[`started:${job.seq}`] === undefined) return undefined
  const message = 'its worker was lost while it ran, and it must not run twice'
  return deadEnding(options, work, job, { code: 'AT_MOST_ONCE', message })
}

/** Runs a task, in order as often as it is retried, and notes what a later delivery must know. */
async function runNoted(
  options: OneByOneOptions,
  work: Work,
  job: Job,
  careful: boolean,
): Promise<Ending> {
  const { delivery, hand } = work
  const once = job.task.delivery === 'at-most-once'
  if (once) await delivery.note({ [`started:${job.seq}`]: '1' })
  else if (careful) await delivery.note({ running: String(job.seq) })
  let { attempt } = work.envelope
  let ending = await runWatched(options, work, job, attempt)
  while (options.ordered && isRetried(options, ending) && work.hold() === undefined) {
    if (delivery.signal.aborted) break
    const history = [...ending.history, attemptOf(options, ending)]
    hand.pause()
    await options.clock.wait(backoffMs(options.retry, attempt, options.random()), work.signal)
    hand.resume()
    attempt += 1
    ending = await runWatched(options, work, { ...job, history }, attempt)
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
  const ending = await runTask(options, work, job, attempt)
  work.hand.progress()
  return ending
}

/** How often each task was running, and noted, when the worker died; counts the last death. */
async function countKills(
  delivery: Delivery,
  notes: Record<string, string>,
): Promise<Map<number, number>> {
  const kills = new Map<number, number>()
  for (const [field, count] of Object.entries(notes)) {
    if (field.startsWith('kills:')) kills.set(Number(field.slice(6)), Number(count))
  }
  const running = notes['running'] ?? ''
  if (running !== '') {
    const seq = Number(running)
    const count = (kills.get(seq) ?? 0) + 1
    kills.set(seq, count)
    await delivery.note({ [`kills:${seq}`]: String(count), running: '' })
  }
  return kills
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
