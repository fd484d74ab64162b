/** Errors as `application/problem+json` (RFC 9457). */
import {
  ConflictError,
  describeError,
  NotAcceptingError,
  NotFoundError,
  UnavailableError,
  UsageError,
} from '../../actors/errors.ts'

const titles: Record<number, string> = {
  400: 'Bad request',
  401: 'Token missing',
  403: 'Forbidden',
  404: 'Not found',
  405: 'Method not allowed',
  408: 'Too slow',
  409: 'Conflict',
  413: 'Too large',
  415: 'Unsupported media type',
  426: 'Upgrade required',
  429: 'Full',
  500: 'Internal error',
  503: 'Not accepting work now',
}

export function problem(
  status: number,
  code: string,
  detail: string,
  headers: Record<string, string> = {},
): Response {
  const title = titles[status] ?? 'Error'
  const type = `urn:muster:${code.toLowerCase().replaceAll('_', '-')}`
  return Response.json(
    { type, title, status, detail, code },
    { status, headers: { 'content-type': 'application/problem+json', ...headers } },
  )
}

/** Redis is there and refuses: its disk or memory is full, or it is not the one to write to. */
const redisRefusal = /^(MISCONF|OOM|READONLY|LOADING|MASTERDOWN|NOREPLICAS)\b/

export function problemOf(error: unknown): Response {
  const { code, message } = describeError(error)
  if (error instanceof Error && error.name === 'ReplyError' && redisRefusal.test(message)) {
    const headers = { 'retry-after': '2' }
    return problem(503, 'REDIS_REFUSES', `Redis refuses to work now: ${message}`, headers)
  }
  if (error instanceof NotAcceptingError) {
    const retryAfter = String(Math.max(1, Math.ceil(error.retryAfterMs / 1000)))
    const isFull = error.reason === 'full' || error.reason === 'storm'
    return problem(isFull ? 429 : 503, code, message, {
      'retry-after': retryAfter,
    })
  }
  if (error instanceof NotFoundError) return problem(404, code, message)
  if (error instanceof ConflictError) return problem(409, code, message)
  if (error instanceof UsageError) return problem(400, code, message)
  if (error instanceof UnavailableError) return problem(503, code, message, { 'retry-after': '2' })
  return problem(500, code, message)
}
