/**
 * A clock that stands still until a test lets time pass. One time for everything: the Clock port of
 * the actors, and the timers of their statecharts.
 */
import type { Clock } from '../../actors/ports.ts'

export interface TestClock extends Clock {
  /** For `createActor`: timers of the same time. */
  readonly timers: {
    setTimeout(run: (...args: unknown[]) => void, ms: number): number
    clearTimeout(id: number): void
  }
  /** Timers and waits that are not over. */
  readonly armed: number
  /** Lets `ms` pass at once: what falls due runs in order of time, promises only afterwards. */
  advance(ms: number): void
  /** Lets `ms` pass, and everything that is due, with all that follows from it, come to rest. */
  pass(ms: number): Promise<void>
  /** Resolves when everything that can run without time has run. */
  settle(): Promise<void>
}

/** @param startMs epoch milliseconds at which it stands; its monotonic time starts at 0 */
export function testClock(startMs = 1_700_000_000_000): TestClock {
  const timers = new Map<number, { dueMs: number; run: () => void }>()
  let elapsedMs = 0
  let ids = 0
  let breathing = 0

  const arm = (run: () => void, ms: number): number => {
    ids += 1
    timers.set(ids, { dueMs: elapsedMs + Math.max(0, ms), run })
    return ids
  }

  /** The next timer due by then; of two at the same time the one armed first. */
  const nextBy = (untilMs: number): number | undefined => {
    let next: { id: number; dueMs: number } | undefined
    for (const [id, { dueMs }] of timers) {
      if (dueMs <= untilMs && (next === undefined || dueMs < next.dueMs)) next = { id, dueMs }
    }
    return next?.id
  }

  const fire = (id: number): void => {
    const timer = timers.get(id)
    if (timer === undefined) return
    timers.delete(id)
    elapsedMs = Math.max(elapsedMs, timer.dueMs)
    timer.run()
  }

  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

  const settle = async (): Promise<void> => {
    // Every chain of promises is through after one turn; whoever breathes wants one more.
    do await turn()
    while (breathing > 0)
    await turn()
  }

  return {
    now: () => startMs + elapsedMs,
    monotonic: () => elapsedMs,
    async breathe() {
      breathing += 1
      await turn()
      breathing -= 1
    },
    wait(ms, signal) {
      if (signal?.aborted === true) return Promise.resolve()
      const { promise, resolve } = Promise.withResolvers<void>()
      const id = arm(resolve, ms)
      const onAbort = () => {
        timers.delete(id)
        resolve()
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      return promise
    },
    tick(ms, signal) {
      return this.wait(ms, signal)
    },
    timers: {
      setTimeout: (run, ms) => arm(run, ms),
      clearTimeout: (id) => {
        timers.delete(id)
      },
    },
    get armed() {
      return timers.size
    },
    advance(ms) {
      const untilMs = elapsedMs + ms
      for (let id = nextBy(untilMs); id !== undefined; id = nextBy(untilMs)) fire(id)
      elapsedMs = untilMs
    },
    async pass(ms) {
      const untilMs = elapsedMs + ms
      await settle()
      for (let id = nextBy(untilMs); id !== undefined; id = nextBy(untilMs)) {
        fire(id)
        await settle()
      }
      elapsedMs = untilMs
    },
    settle,
  }
}
