import type { Clock } from '../actors/ports.ts'

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  breathe: () => new Promise((resolve) => setImmediate(resolve)),
  wait(ms, signal) {
    if (signal?.aborted === true) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    const onAbort = () => {
      clearTimeout(timer)
      resolve()
    }
    // A longer time than a timer can hold would be none at all.
    const timer = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      },
      Math.min(ms, 2 ** 31 - 1),
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    return promise
  },
  tick: (ms, signal) => systemClock.wait(untilTickMs(performance.now(), ms), signal),
}

/**
 * Time until the next tick, ms, for whoever looks every `ms`: ticks are the whole multiples of it,
 * so that all who look as often do it together. Between half of `ms` and one and a half times it.
 */
export function untilTickMs(nowMs: number, ms: number): number {
  return Math.ceil(nowMs / ms + 0.5) * ms - nowMs
}

/** Calls it at each tick of `ms`, from the next one on, until what is returned is called. */
export function everyTick(ms: number, look: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>
  const arm = () => {
    timer = setTimeout(
      () => {
        arm()
        look()
      },
      untilTickMs(performance.now(), ms),
    )
  }
  arm()
  return () => clearTimeout(timer)
}
