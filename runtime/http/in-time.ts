/**
 * Questions end in time though Redis is away: whoever only asks is told so, and may ask again. What
 * brings work waits, for it is not lost; streams that have begun go on when Redis is back.
 */
import type { MiddlewareHandler } from 'hono'
import { UnavailableError } from '../../actors/errors.ts'

const lookMs = 1000
/** So many looks in a row: a Redis that is merely started again is back by then. */
const looksMax = 2

/** @param away why what is asked for cannot be had now, or undefined */
export function inTime(away: () => string | undefined): MiddlewareHandler {
  return async ({ req: { method } }, next) => {
    if (method !== 'GET') {
      await next()
      return
    }
    const late = Promise.withResolvers<never>()
    let looks = 0
    const looking = setInterval(() => {
      const why = away()
      looks = why === undefined ? 0 : looks + 1
      if (why !== undefined && looks >= looksMax) late.reject(new UnavailableError(why))
    }, lookMs)
    const answer = next()
    // Nobody waits for it any more when it was late.
    answer.catch(() => undefined)
    try {
      await Promise.race([answer, late.promise])
    } finally {
      clearInterval(looking)
    }
  }
}
