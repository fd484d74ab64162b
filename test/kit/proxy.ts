/**
 * A cable between somebody and a Redis, with everything that can happen to a cable: it passes
 * nothing for a while, it is slow, it breaks, it loses a reply. What is held passes when the hold
 * ends, as TCP would have it, also when whoever sent it is long gone.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { isPush, Values, wordsOf } from './resp.ts'

export interface Where {
  /** Only connections that gave themselves this name (CLIENT SETNAME), as `muster:leases`. */
  client?: string
  /** Default: both. */
  direction?: 'toRedis' | 'toClient'
}

/** Faults hit new connections as well as those that are there, until they are ended. */
export interface RedisProxy {
  readonly url: string
  /** Names of the clients that are connected through it; '' for one without. */
  readonly clients: string[]
  /** Passes nothing, and leaves the sockets open. Returns what ends it. */
  hold(where?: Where): () => void
  /** Passes everything that much later, ms. Returns what ends it. */
  delay(ms: number, where?: Where): () => void
  /** Breaks connections, once, at both ends. Returns how many. */
  cut(where?: Pick<Where, 'client'>): number
  /**
   * Has Redis do the next command that fits, loses the reply to it, and breaks the connection.
   * Resolves with the command, its name in lower case, when it has happened.
   */
  loseReply(fits: (words: readonly string[]) => boolean): Promise<string[]>
  /** Breaks every connection and takes no more; safe to call twice. */
  stop(): Promise<void>
}

interface Fault extends Where {
  /** Infinity: it is held. */
  delayMs: number
}

interface Loss {
  fits(words: readonly string[]): boolean
  happened(words: string[]): void
}

interface Faults {
  readonly delays: Set<Fault>
  readonly losses: Set<Loss>
}

/** @param path unix socket of the Redis */
export async function startProxy(path: string): Promise<RedisProxy> {
  const faults: Faults = { delays: new Set(), losses: new Set() }
  const links = new Set<Link>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const redis = connect({ path, allowHalfOpen: true })
    const link = new Link(client, redis, faults, () => links.delete(link))
    links.add(link)
  })
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo

  const cause = (fault: Fault) => {
    faults.delays.add(fault)
    return () => {
      faults.delays.delete(fault)
      for (const link of links) link.pass()
    }
  }
  let stopped: Promise<void> | undefined

  return {
    url: `redis://127.0.0.1:${port}`,
    get clients() {
      return [...links].map(({ client }) => client)
    },
    hold: (where = {}) => cause({ ...where, delayMs: Number.POSITIVE_INFINITY }),
    delay: (delayMs, where = {}) => cause({ ...where, delayMs }),
    cut({ client } = {}) {
      const hit = [...links].filter((link) => client === undefined || link.client === client)
      for (const link of hit) link.cut()
      return hit.length
    },
    loseReply: (fits) =>
      new Promise((resolve) => {
        const loss: Loss = {
          fits,
          happened(words) {
            faults.losses.delete(loss)
            resolve(words)
          },
        }
        faults.losses.add(loss)
      }),
    stop: () =>
      (stopped ??= new Promise((resolve) => {
        server.close(() => resolve())
        for (const link of links) link.cut()
      })),
  }
}

/** Commands whose replies come as news do not wait for one. */
const subscribing = /^[ps]?(un)?subscribe$/

/** One connection: somebody's to the proxy, and the proxy's to Redis. */
class Link {
  client = ''
  readonly #sockets: readonly Socket[]
  readonly #toRedis: Lane
  readonly #toClient: Lane
  readonly #faults: Faults
  /** Commands in the order in which they will be answered. */
  readonly #unanswered: string[][] = []
  #isLost = false

  constructor(client: Socket, redis: Socket, faults: Faults, onGone: () => void) {
    this.#sockets = [client, redis]
    this.#faults = faults
    const ofThis = (direction: Where['direction']) => () =>
      [...faults.delays]
        .filter((fault) => fault.client === undefined || fault.client === this.client)
        .filter((fault) => (fault.direction ?? direction) === direction)
        .reduce((sum, { delayMs }) => sum + delayMs, 0)
    this.#toRedis = new Lane(redis, ofThis('toRedis'))
    this.#toClient = new Lane(client, ofThis('toClient'))
    const commands = new Values()
    const replies = new Values()
    listen(client, this.#toRedis, (chunk) => {
      for (const command of commands.take(chunk)) this.#ask(command)
    })
    listen(redis, this.#toClient, (chunk) => {
      for (const reply of replies.take(chunk)) this.#answer(reply)
    })
    for (const socket of this.#sockets) {
      socket.on('close', () => {
        if (this.#sockets.every(({ destroyed }) => destroyed)) onGone()
      })
    }
  }

  pass(): void {
    this.#toRedis.pass()
    this.#toClient.pass()
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #ask(command: Buffer): void {
    const words = wordsOf(command)
    const [name = '', verb = '', value = ''] = words
    if (name === 'client' && verb.toLowerCase() === 'setname') this.client = value
    if (!subscribing.test(name)) this.#unanswered.push(words)
    this.#toRedis.put(command)
  }

  #answer(reply: Buffer): void {
    if (this.#isLost) return
    const words = isPush(reply) ? undefined : this.#unanswered.shift()
    const loss = words && [...this.#faults.losses].find(({ fits }) => fits(words))
    if (words === undefined || loss === undefined) {
      this.#toClient.put(reply)
      return
    }
    this.#isLost = true
    loss.happened(words)
    this.cut()
  }
}

/** One direction of a connection: what goes in comes out in order, some time. */
class Lane {
  readonly #to: Socket
  readonly #delayMs: () => number
  /** Bytes, or the end; and the monotonic ms at which they are due, were there no hold. */
  readonly #queue: { bytes: Buffer | undefined; due: number }[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(to: Socket, delayMs: () => number) {
    this.#to = to
    this.#delayMs = delayMs
    to.on('close', () => clearTimeout(this.#timer))
  }

  put(bytes: Buffer | undefined): void {
    const delayMs = this.#delayMs()
    const due = performance.now() + (Number.isFinite(delayMs) ? delayMs : 0)
    this.#queue.push({ bytes, due })
    this.pass()
  }

  pass(): void {
    clearTimeout(this.#timer)
    for (let head = this.#queue[0]; head !== undefined; head = this.#queue[0]) {
      if (this.#delayMs() === Number.POSITIVE_INFINITY) return
      const waitMs = head.due - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pass(), Math.ceil(waitMs))
        return
      }
      this.#queue.shift()
      if (this.#to.destroyed) continue
      if (head.bytes === undefined) this.#to.end()
      else this.#to.write(head.bytes)
    }
  }
}

function listen(from: Socket, lane: Lane, take: (chunk: Buffer) => void): void {
  let isOver = false
  const end = () => {
    if (isOver) return
    isOver = true
    lane.put(undefined)
  }
  from.setNoDelay(true)
  from.on('data', take)
  from.on('end', end)
  // Whoever is reset is gone as well as one that said farewell.
  from.on('close', end)
  from.on('error', end)
}
