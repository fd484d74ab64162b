/** Answers that are made while they are read. */

const encoder = new TextEncoder()

/** A response that pulls its text, and stops its source when nobody reads any more. */
export function streamOf(source: AsyncGenerator<string>, type: string): Response {
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await source.next()
        if (done === true) controller.close()
        else controller.enqueue(encoder.encode(value))
      },
      async cancel() {
        await source.return(undefined)
      },
    },
    // Not a step before somebody reads: to HEAD there is no reader.
    { highWaterMark: 0 },
  )
  return new Response(stream, { headers: { 'content-type': type, 'cache-control': 'no-store' } })
}

/** A comment of server-sent events. */
const eventsBeat = encoder.encode(': \n\n')
const beats = new WeakMap<Response, Uint8Array>()

/** What may be sent of a response whose body is long in coming, without changing it. */
export function beatWith(response: Response, text: string): Response {
  beats.set(response, encoder.encode(text))
  return response
}

/**
 * The same with a sign of life whenever nothing happened for so long: a connection on which
 * nothing moves is taken for dead.
 */
export function beating(response: Response, everyMs: number): Response {
  const isEvents = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const beat = isEvents ? eventsBeat : beats.get(response)
  if (beat === undefined || response.body === null) return response
  const body = withBeat(response.body, beat, everyMs)
  return new Response(body, { status: response.status, headers: response.headers })
}

function withBeat(slow: ReadableStream<Uint8Array>, beat: Uint8Array, everyMs: number) {
  const reader = slow.getReader()
  let next: ReturnType<typeof reader.read> | undefined
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        next ??= reader.read()
        const quiet = Promise.withResolvers<undefined>()
        const timer = setTimeout(() => quiet.resolve(undefined), everyMs)
        try {
          const read = await Promise.race([next, quiet.promise])
          if (read === undefined) {
            controller.enqueue(beat)
            return
          }
          next = undefined
          if (read.done) controller.close()
          else controller.enqueue(read.value)
        } finally {
          clearTimeout(timer)
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}
