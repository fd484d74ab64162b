/**
 * Those who look at the console. Each has a queue of his own that is bounded: one who reads too
 * slowly is dropped, comes back by himself, and is told everything anew.
 */
import { UnavailableError } from '../../../actors/errors.ts'

/** One who has not read so much is dropped, bytes. */
const queueBytesMax = 1_048_576
const viewersMax = 64
/** How soon a browser comes back, ms. */
const retryMs = 1000

interface Viewer {
  queue: Uint8Array[]
  bytes: number
  isOver: boolean
  wake(): void
}

export class Viewers {
  readonly #viewers = new Set<Viewer>()
  readonly #encoder = new TextEncoder()
  readonly #onLast: () => void

  /** @param onLast the last one has gone */
  constructor(onLast: () => void) {
    this.#onLast = onLast
  }

  get count(): number {
    return this.#viewers.size
  }

  /** @throws UnavailableError when there are as many as there may be */
  refuseMore(): void {
    if (this.#viewers.size < viewersMax) return
    throw new UnavailableError(
      `${viewersMax} pages look at this node already: close one, or look at another node`,
    )
  }

  /** A stream of events for one more, which begins with this one. */
  add(event: string, data: unknown, signal: AbortSignal): ReadableStream<Uint8Array> {
    const first = this.#encode(event, data, `retry: ${retryMs}\n`)
    const viewer: Viewer = {
      queue: [first],
      bytes: first.length,
      isOver: false,
      wake: () => {},
    }
    this.#viewers.add(viewer)
    signal.addEventListener('abort', () => this.#drop(viewer), { once: true })
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          while (viewer.queue.length === 0 && !viewer.isOver) {
            const more = Promise.withResolvers<void>()
            viewer.wake = more.resolve
            await more.promise
          }
          const next = viewer.queue.shift()
          if (next === undefined || viewer.isOver) {
            controller.close()
            return
          }
          viewer.bytes -= next.length
          controller.enqueue(next)
        },
        cancel: () => this.#drop(viewer),
      },
      { highWaterMark: 0 },
    )
  }

  send(event: string, data: unknown): void {
    if (this.#viewers.size === 0) return
    const bytes = this.#encode(event, data)
    for (const viewer of this.#viewers) {
      viewer.queue.push(bytes)
      viewer.bytes += bytes.length
      if (viewer.bytes > queueBytesMax) this.#drop(viewer)
      else viewer.wake()
    }
  }

  close(): void {
    for (const viewer of this.#viewers) this.#drop(viewer)
  }

  #drop(viewer: Viewer): void {
    viewer.isOver = true
    viewer.queue = []
    viewer.wake()
    if (this.#viewers.delete(viewer) && this.#viewers.size === 0) this.#onLast()
  }

  #encode(event: string, data: unknown, before = ''): Uint8Array {
    return this.#encoder.encode(`${before}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  }
}
