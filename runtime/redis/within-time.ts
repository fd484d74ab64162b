/** Operations on Redis that somebody waits for, and no longer than so long. */
import type { Redis } from 'ioredis'
import { describeError, FencedError, UnavailableError } from '../../actors/errors.ts'

/**
 * @param purpose ends the sentence "Redis was asked …"
 * @throws UnavailableError when Redis does not answer in time, or cannot be reached
 */
export async function withinTime<T>(
  redis: Redis,
  timeoutMs: number,
  purpose: string,
  operation: () => Promise<T>,
): Promise<T> {
  const over = new AbortController()
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  try {
    // A connection that is just coming back is waited for, so long as somebody wants the answer.
    if (redis.status !== 'ready') await Promise.race([nextReady(redis, over.signal), late])
    return await Promise.race([operation(), late])
  } catch (error) {
    if (error instanceof FencedError) throw error
    throw new UnavailableError(
      `Redis was asked ${purpose} and did not answer as it should ` +
        `(${describeError(error).message}); it may have been done all the same`,
      { cause: error, code: 'REDIS_UNAVAILABLE' },
    )
  } finally {
    clearTimeout(timer)
    over.abort()
  }
}

/** Resolves, once, with the next connection; forgets about it when the signal aborts. */
function nextReady(redis: Redis, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    redis.once('ready', resolve)
    signal.addEventListener('abort', () => redis.off('ready', resolve), { once: true })
  })
}
