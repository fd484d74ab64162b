/** The tasks of an envelope side by side, as many as there are slots. */
import { heldBack, type Job, runTask, tokenFor, type Work } from './attempt.ts'
import type { Limiter } from './limits.ts'
import type { Meter } from './meter.ts'
import type { Ending, SettlementOptions } from './settlement.ts'

/** Work without a pause may hold the event loop this long, ms. */
const breathAfterMs = 10
/** Tasks that end at once between two looks at the clock. */
const looksApart = 8

/** @returns those that wait until their run goes on */
export async function runTogether(
  options: SettlementOptions & { limiter: Limiter; meter?: Pick<Meter, 'heldLoop'> },
  work: Work,
  jobs: readonly Job[],
): Promise<Job[]> {
  const { clock } = options
  const { envelope, delivery, hand, slots, settling } = work
  const parked: Job[] = []
  const running: Promise<void>[] = []
  let busy = 0
  let isWaiting = false
  // While none of its own tasks runs, others have the slots: that none gets free is their fault.
  const pauseIfIdle = () => {
    if (isWaiting && busy === 0) hand.pause()
  }
  const follow = async (ending: Promise<Ending>) => {
    settling.add(await ending)
    busy -= 1
    hand.progress()
    pauseIfIdle()
    slots.give()
  }
  /** For something that others have now. */
  const waitFor = async (something: Promise<unknown>) => {
    isWaiting = true
    pauseIfIdle()
    await something
    isWaiting = false
    hand.resume()
  }
  const isHeldBack = (job: Job) => {
    const held = heldBack(options, work, job)
    if (held === 'park') parked.push(job)
    else if (held !== undefined) settling.add(held)
    return held !== undefined
  }
  let breathed = clock.monotonic()
  let begun = 0
  for (const job of jobs) {
    const token = tokenFor(options, work, job)
    if (token !== undefined) await waitFor(token)
    if (isHeldBack(job)) continue
    const slot = slots.take(work.held.signal, work.stand)
    if (slot !== undefined) await waitFor(slot)
    if (delivery.signal.aborted) {
      slots.give()
      break
    }
    if (slot !== undefined && isHeldBack(job)) {
      slots.give()
      continue
    }
    const ending = runTask(options, work, job, envelope.attempt)
    if (ending instanceof Promise) {
      busy += 1
      running.push(follow(ending))
    } else {
      settling.add(ending)
      slots.give()
    }
    begun += 1
    // To look at the clock takes as long as the smallest of tasks.
    if (begun % looksApart !== 0 && !(ending instanceof Promise)) continue
    const now = clock.monotonic()
    hand.progress(now)
    if (now - breathed > breathAfterMs) {
      await clock.breathe()
      breathed = clock.monotonic()
    }
  }
  await Promise.all(running)
  return parked
}
