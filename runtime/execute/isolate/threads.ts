/** Guests in threads, by tinypool. They share our memory: what fills it ends both. */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import type { Tinypool } from 'tinypool'
import { describeError } from '../../../actors/errors.ts'
import type { FromGuest, Guests, Listener, ToGuest } from './call.ts'

const idleMs = 30_000
/** Each ordered partition beside the ordinary worker may need one of its own. */
const threadsMax = 256
/** A thread that cannot be torn down is left to the end of this process. */
const stopMs = 2000

/** A thread, as long as it is lent by the pool, and who listens to it now. */
class Lane {
  listener: Listener | undefined
  idleSince = 0
  readonly ended: Promise<void>
  readonly #port: MessagePort
  readonly #killing = new AbortController()

  constructor(pool: Promise<Tinypool>) {
    const { port1, port2: port } = new MessageChannel()
    this.#port = port1
    port1.on('message', (message: FromGuest) => this.listener?.hear(message))
    // The types of the pool take the ports of a browser for those of Node.
    const transferList = [port] as never
    const { signal } = this.#killing
    this.ended = pool
      .then((threads) => threads.run({ port }, { transferList, signal }))
      .then(
        () => this.#over('it ended without a word'),
        (error: unknown) => {
          this.#over(`it threw outside of its work: ${describeError(error).message}`)
        },
      )
  }

  send(message: ToGuest): void {
    this.#port.postMessage(message)
  }

  kill(): void {
    this.listener = undefined
    this.#killing.abort()
  }

  #over(how: string): void {
    const { listener } = this
    this.listener = undefined
    this.#port.close()
    listener?.died(how)
  }
}

export function threadGuests(): Guests {
  const filename = new URL('./guest-thread.ts', import.meta.url).href
  const idle: Lane[] = []
  const all = new Set<Lane>()
  let pool: Promise<Tinypool> | undefined
  let looking: ReturnType<typeof setInterval> | undefined

  const open = async () => {
    const { Tinypool: Pool } = await import('tinypool')
    // Its threads have a loop that must turn between calls, which Atomics would hold up.
    const options = { minThreads: 0, maxThreads: threadsMax, idleTimeout: 0, useAtomics: false }
    return new Pool({ ...options, filename, name: 'serve', concurrentTasksPerWorker: 1 })
  }

  const look = () => {
    const oldest = performance.now() - idleMs
    while (idle[0] !== undefined && idle[0].idleSince < oldest) idle.shift()?.send({ type: 'stop' })
  }

  const start = () => {
    pool ??= open()
    looking ??= setInterval(look, idleMs / 2)
    looking.unref()
    const lane = new Lane(pool)
    all.add(lane)
    void lane.ended.then(() => {
      all.delete(lane)
      const at = idle.indexOf(lane)
      if (at >= 0) idle.splice(at, 1)
    })
    return lane
  }

  return {
    noun: 'thread',
    lend(listener) {
      const lane = idle.pop() ?? start()
      lane.listener = listener
      return {
        send: (message) => lane.send(message),
        release() {
          lane.listener = undefined
          if (!all.has(lane)) return
          lane.send({ type: 'release' })
          lane.idleSince = performance.now()
          idle.push(lane)
        },
        kill: () => lane.kill(),
      }
    },
    async stop() {
      clearInterval(looking)
      looking = undefined
      const [last, left] = [pool, [...all]]
      pool = undefined
      idle.length = 0
      for (const lane of left) lane.send({ type: 'stop' })
      const down = Promise.all(left.map((lane) => lane.ended)).then(async () => {
        await (await last)?.destroy()
      })
      await within(stopMs, down)
    },
  }
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([work, late])
  clearTimeout(timer)
}
