/**
 * Byte streams of the HTTP client: tasks out as NDJSON, result lines and server-sent events in.
 * Nothing here holds more than one piece and one item of its source.
 */
import type { TaskLine } from '../actors/task.ts'

/** Task objects, or the bytes of NDJSON as they are. */
export type TaskSource =
  | ReadableStream<Uint8Array>
  | AsyncIterable<TaskLine | Uint8Array>
  | Iterable<TaskLine | Uint8Array>

const pieceBytes = 64 * 1024
/** A task of a slow source waits at most this long for company. */
const lingerMs = 5

/** The source as NDJSON in pieces of at most 64 KiB, taken from it as fast as they are read. */
export async function* ndjsonPieces(source: TaskSource): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  const iterator: AsyncIterator<TaskLine | Uint8Array> | Iterator<TaskLine | Uint8Array> =
    Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let text = ''
  let linger: Promise<'linger'> | undefined
  let ended = false
  try {
    let next = iterator.next()
    for (;;) {
      const item = linger === undefined ? await next : await Promise.race([next, linger])
      const flush = item === 'linger' || item.done === true || item.value instanceof Uint8Array
      if (flush || text.length >= pieceBytes) {
        if (text !== '') yield* cut(encoder.encode(text))
        text = ''
        linger = undefined
      }
      if (item === 'linger') continue
      if (item.done === true) {
        ended = true
        return
      }
      if (item.value instanceof Uint8Array) yield* cut(item.value)
      else text += `${JSON.stringify(item.value)}\n`
      next = iterator.next()
      if (text !== '' && next instanceof Promise)
        linger ??= Bun.sleep(lingerMs).then(() => 'linger')
    }
  } finally {
    if (!ended) await iterator.return?.()
  }
}

function* cut(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

/** A request body that pulls: what the reader does not take is not made. */
export function pulledStream(
  pieces: AsyncGenerator<Uint8Array>,
  signal: AbortSignal | undefined,
  onFailure: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        signal?.addEventListener('abort', () => controller.error(signal.reason), { once: true })
      },
      async pull(controller) {
        try {
          const piece = await pieces.next()
          if (signal?.aborted === true) return
          if (piece.done === true) controller.close()
          else controller.enqueue(piece.value)
        } catch (error) {
          if (signal?.aborted === true) return
          onFailure(error)
          controller.error(error)
        }
      },
      cancel() {
        // Not awaited: a source that waits for its next line (a pipe) answers only then.
        pieces.return(undefined).catch(onFailure)
      },
    },
    { highWaterMark: 0 },
  )
}

/** The lines of a body, some at a time; a last line without an end counts. */
export async function* readLines(
  body: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<string[]> {
  const reader = body.getReader()
  const leave = () => void reader.cancel().catch(ignoreBrokenStream)
  signal?.addEventListener('abort', leave)
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      const text = done ? decoder.decode() : decoder.decode(value, { stream: true })
      const lines = text.split('\n')
      lines[0] = rest + (lines[0] ?? '')
      rest = done ? '' : (lines.pop() ?? '')
      if (lines.length > 0) yield lines
      if (done) return
    }
  } finally {
    // Leaving early must end the transfer, else the node goes on sending into nowhere.
    signal?.removeEventListener('abort', leave)
    leave()
  }
}

/** Cancelling a stream that has failed already throws that failure again: it was reported. */
function ignoreBrokenStream(): void {}

export interface ServerEvent {
  id?: string
  event: string
  data: string
}

/** Server-sent events of a body (WHATWG format: `id`, `event`, `data`, comments). */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<ServerEvent> {
  let event = 'message'
  let data: string[] = []
  let id: string | undefined
  for await (const lines of readLines(body, signal)) {
    for (const raw of lines) {
      const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw
      if (line === '') {
        if (data.length > 0) {
          yield { ...(id === undefined ? {} : { id }), event, data: data.join('\n') }
        }
        event = 'message'
        data = []
        continue
      }
      const colon = line.indexOf(':')
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'event') event = value
      else if (field === 'data') data.push(value)
      else if (field === 'id') id = value
    }
  }
}
