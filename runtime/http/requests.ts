/** Bodies of requests: no longer, and no slower, than they may be. */
import { UsageError } from '../../actors/errors.ts'
import { admit, passOf } from './access.ts'
import { problem } from './problem.ts'

export const ndjson = 'application/x-ndjson'

/** A body that is no stream of lines is read whole. */
const bodyBytesMax = 16 * 1_048_576

export function mediaTypeOf({ headers }: Request): string {
  return (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
}

/** Lines that are taken as they come, however many. */
export function isStreamed(request: Request): boolean {
  return mediaTypeOf(request) === ndjson && new URL(request.url).pathname === '/v1/runs'
}

/**
 * The request with its body read, or why it is not read. A promise only where there is a body.
 */
export function readWhole(
  request: Request,
  withinMs: number,
): Request | Promise<Request | Response> {
  return request.body === null ? request : readBody(request, request.body, withinMs)
}

async function readBody(
  request: Request,
  body: ReadableStream<Uint8Array>,
  withinMs: number,
): Promise<Request | Response> {
  const announced = Number(request.headers.get('content-length') ?? 0)
  if (announced > bodyBytesMax) return tooLarge(`${announced} bytes`)
  const parts: Uint8Array[] = []
  let bytes = 0
  const reader = body.getReader()
  const slow = Promise.withResolvers<'slow'>()
  const timer = setTimeout(() => slow.resolve('slow'), withinMs)
  try {
    for (;;) {
      const read = await Promise.race([reader.read(), slow.promise])
      if (read === 'slow') return leave(reader, tooSlow(withinMs))
      if (read.done) break
      bytes += read.value.length
      if (bytes > bodyBytesMax) return leave(reader, tooLarge('more'))
      parts.push(read.value)
    }
  } finally {
    clearTimeout(timer)
  }
  const { url, method, headers, signal } = request
  const whole = new Request(url, { method, headers, signal, body: Buffer.concat(parts) })
  const pass = passOf(request)
  if (pass !== undefined) admit(whole, pass)
  return whole
}

function leave(reader: { cancel(): Promise<void> }, answer: Response): Response {
  // It breaks off on the way out, which is what was wanted.
  reader.cancel().catch(() => undefined)
  return answer
}

function tooLarge(got: string): Response {
  const detail =
    `expected at most ${bodyBytesMax} bytes, got ${got}; ` +
    `to POST /v1/runs any number of lines may be sent as ${ndjson}`
  return problem(413, 'TOO_LARGE', detail, { connection: 'close' })
}

function tooSlow(withinMs: number): Response {
  const detail = `expected the whole body within ${withinMs} ms (http.bodyMs)`
  return problem(408, 'TOO_SLOW', detail, { connection: 'close' })
}

const readers = new WeakMap<Request, () => void>()

/** To be told when a body that is taken as it comes has come. */
export function whenRead(request: Request, tell: () => void): void {
  readers.set(request, tell)
}

/**
 * A body that fails when its sender is silent for longer than `silenceMs`. Time in which nobody
 * wants more of it does not count.
 */
export async function* lively(request: Request, silenceMs: number): AsyncGenerator<Uint8Array> {
  const reader = (request.body ?? new Blob([]).stream()).getReader()
  let waitingSince: number | undefined
  let isSilent = false
  const look = () => {
    if (waitingSince === undefined || performance.now() - waitingSince < silenceMs) return
    isSilent = true
    // The read that waits ends with it.
    reader.cancel().catch(() => undefined)
  }
  const timer = setInterval(look, Math.max(50, silenceMs / 8))
  try {
    for (;;) {
      waitingSince = performance.now()
      const { done, value } = await reader.read()
      waitingSince = undefined
      if (isSilent) {
        const silence = `nothing more came for ${silenceMs} ms (http.streamSilenceMs)`
        throw new UsageError(`expected lines or the end of them; ${silence}`)
      }
      if (done) return
      yield value
    }
  } finally {
    clearInterval(timer)
    readers.get(request)?.()
    reader.cancel().catch(() => undefined)
  }
}
