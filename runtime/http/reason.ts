/** Why somebody asks for something: the `reason` of a JSON body. */
import { UsageError } from '../../actors/errors.ts'
import { describeValue } from '../rejection.ts'

/** As many characters as anybody reads in a log. */
export const reasonMax = 1000

/**
 * The JSON object that a request brings; empty where there is no body.
 * @throws UsageError when the body is no object of JSON
 */
export async function readBody(request: Request): Promise<Record<string, unknown>> {
  const text = await request.text()
  return text.trim() === '' ? {} : objectOf(text)
}

/**
 * Undefined where there is no body, or none is given in it.
 * @throws UsageError when the body is no object of JSON, or the reason no text
 */
export async function readReason(
  from: Request | Record<string, unknown>,
): Promise<string | undefined> {
  const { reason } = from instanceof Request ? await readBody(from) : from
  if (reason === undefined) return undefined
  if (typeof reason !== 'string' || reason.trim() === '' || reason.length > reasonMax) {
    const got = typeof reason === 'string' ? `${reason.length} characters` : describeValue(reason)
    throw new UsageError(`reason: expected a text of 1 to ${reasonMax} characters, got ${got}`)
  }
  return reason.trim()
}

function objectOf(text: string): Record<string, unknown> {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch (error) {
    const got = error instanceof Error ? error.message : 'something else'
    throw new UsageError(`expected a JSON object such as {"reason": "…"}, got ${got}`)
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) {
    return body as Record<string, unknown>
  }
  const got = describeValue(body)
  throw new UsageError(`expected a JSON object such as {"reason": "…"}, got ${got}`)
}
