/** The tasks of an envelope side by side, as many as there are slots. */
import { heldBack, type Job, runTask, type Work } from './attempt.ts'
import type { Ending, SettlementOptions } from './settlement.ts'

/** Work without a pause may hold the event loop this long, ms. */
const breathAfterMs = 10

/** @returns those that wait until their run goes on */
export async function runTogether(
  options: SettlementOptions,
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
  let breathed = clock.monotonic()
  for (const job of jobs) {
    const held = heldBack(options, work, job)
    if (held === 'park') parked.push(job)
    else if (held !== undefined) settling.add(held)
    if (held !== undefined) continue
    const wait = slots.take()
    if (wait !== undefined) {
      isWaiting = true
      pauseIfIdle()
      await wait
      isWaiting = false
      hand.resume()
    }
    if (delivery.signal.aborted) {
      slots.give()
      break
    }
    const ending = runTask(options, work, job, envelope.attempt)
    if (ending instanceof Promise) {
      busy += 1
      running.push(follow(ending))
    } else {
      settling.add(ending)
      slots.give()
    }
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
