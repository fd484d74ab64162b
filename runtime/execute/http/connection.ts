/** Connections that requests go over: opened to a checked address, kept for the next request. */
import { connect, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls, type TLSSocket } from 'node:tls'
import { describeError, MusterError } from '../../../actors/errors.ts'
import { addressesOf, type Lookup } from './addresses.ts'
import { Departures } from './departures.ts'
import { enter, type Progress } from './progress.ts'
import { AnswerReader } from './wire.ts'

export interface PoolOptions {
  lookup: Lookup
  /** Link-local and metadata addresses may be asked. */
  isAllowed: boolean
  /** Certificates of the authorities to trust, instead of those that Bun knows. */
  ca?: string
  /** Connections kept for the next request at most. */
  idleMax?: number
}

const idleMs = 5000
/** How a kept connection says that the other side has closed it. */
const staleCodes = new Set(['ECONNRESET', 'EPIPE'])
/** Over all origins; to each there may be as many as requests were under way. */
const idleMaxDefault = 4096
const dayMs = 86_400_000

/** One connection; at most one request is on it. */
class Connection {
  readonly address: string
  certDaysLeft: number | undefined
  isClosed = false
  idleSince = 0
  readonly #socket: Socket
  #take: ((piece: Buffer) => void) | undefined
  #ended: ((error: Error | undefined) => void) | undefined

  constructor(address: string, socket: Socket) {
    this.address = address
    this.#socket = socket
  }

  write(bytes: Buffer): void {
    // Given up before its time to leave had come.
    if (!this.isClosed) this.#socket.write(bytes)
  }

  /** Everything that was written has left. */
  get isSent(): boolean {
    return this.#socket.writableLength === 0
  }

  listen(take: (piece: Buffer) => void, ended: (error: Error | undefined) => void): void {
    this.#take = take
    this.#ended = ended
  }

  received(piece: Buffer): void {
    // Nobody asked: it cannot be trusted with the next request.
    if (this.#take === undefined) this.close()
    else this.#take(piece)
  }

  closed(error: Error | undefined): void {
    this.isClosed = true
    this.#ended?.(error)
  }

  idle(): void {
    this.#take = undefined
    this.#ended = undefined
    this.idleSince = performance.now()
  }

  close(): void {
    this.isClosed = true
    this.#take = undefined
    this.#ended = undefined
    this.#socket.destroy()
  }
}

export class ConnectionPool {
  readonly #options: PoolOptions
  /** By origin, the oldest first; none of them empty. */
  readonly #idle = new Map<string, Connection[]>()
  #idleCount = 0
  readonly #idleMax: number
  #sweeping: ReturnType<typeof setInterval> | undefined
  readonly #departures = new Departures()

  constructor(options: PoolOptions) {
    this.#options = options
    this.#idleMax = options.idleMax ?? idleMaxDefault
  }

  start(): void {
    this.#sweeping ??= setInterval(() => this.#sweep(), idleMs / 2)
    this.#sweeping.unref()
  }

  stop(): void {
    clearInterval(this.#sweeping)
    this.#sweeping = undefined
    for (const connections of this.#idle.values()) for (const one of connections) one.close()
    this.#idle.clear()
    this.#idleCount = 0
  }

  /**
   * Sends a request and reads its answer, at most `maxBytes` of its body.
   * @throws an error with a code
   */
  async exchange(
    url: URL,
    bytes: Buffer,
    { method, maxBytes }: { method: string; maxBytes: number },
    progress: Progress,
  ): Promise<AnswerReader> {
    // What must not be sent twice gets a connection that nobody is about to close.
    const isRepeatable = method !== 'POST' && method !== 'PATCH'
    const kept = isRepeatable ? this.#takeIdle(url.origin) : undefined
    if (kept !== undefined) {
      const reader = new AnswerReader(method, maxBytes)
      try {
        return await this.#over(kept, url, bytes, reader, progress)
      } catch (error) {
        // The other side may close what is kept at any time; then the request was not looked at.
        const isStale = !reader.hasHead && staleCodes.has(describeError(error).code)
        if (!isStale) throw error
      }
    }
    const fresh = await this.#open(url, progress)
    return this.#over(fresh, url, bytes, new AnswerReader(method, maxBytes), progress)
  }

  #over(
    connection: Connection,
    url: URL,
    bytes: Buffer,
    reader: AnswerReader,
    progress: Progress,
  ): Promise<AnswerReader> {
    // Given up between its connection and its request, it has not been told.
    if (progress.ended !== undefined) {
      connection.close()
      return Promise.reject(progress.ended)
    }
    const { promise, resolve, reject } = Promise.withResolvers<AnswerReader>()
    const { timings } = progress
    let begun = performance.now()
    let first = 0
    let state: 'waiting' | 'sent' | 'over' = 'waiting'
    const end = (error?: Error) => {
      state = 'over'
      if (first > 0) timings.transferMs += performance.now() - first
      const isKept = error === undefined && reader.isDone && reader.isReusable
      // Answered before it was asked to the end, it would take the next request for the rest.
      if (isKept && connection.isSent && !connection.isClosed) {
        connection.idle()
        this.#putBack(url.origin, connection)
      } else connection.close()
      delete progress.abort
      if (error === undefined) resolve(reader)
      else reject(error)
    }
    enter(progress, 'processing')
    progress.address = connection.address
    if (connection.certDaysLeft !== undefined) progress.certDaysLeft = connection.certDaysLeft
    progress.abort = end
    connection.listen(
      (piece) => {
        // Said to somebody before: what follows would be taken for the answer to this one.
        if (state === 'waiting' && connection.idleSince > 0) {
          end(new MusterError('ECONNRESET', 'the connection said something unasked'))
          return
        }
        if (first === 0) {
          first = performance.now()
          timings.processingMs += first - begun
          enter(progress, 'transfer')
        }
        try {
          reader.add(piece)
        } catch (error) {
          end(asError(error))
          return
        }
        // What is beyond the bound is not waited for.
        if (reader.isDone || reader.truncated) end()
      },
      (error) => {
        try {
          if (error !== undefined) throw error
          reader.end()
          end()
        } catch (problem) {
          end(asError(problem))
        }
      },
    )
    this.#departures.add(() => {
      if (state !== 'waiting') return
      state = 'sent'
      begun = performance.now()
      connection.write(bytes)
    })
    return promise
  }

  async #open(url: URL, progress: Progress): Promise<Connection> {
    const { timings } = progress
    const { lookup, isAllowed } = this.#options
    const begun = performance.now()
    enter(progress, 'resolve')
    const addresses = await abortable(addressesOf(url.hostname, lookup, isAllowed), progress)
    timings.resolveMs += performance.now() - begun
    let problem: unknown
    for (const address of addresses) {
      if (progress.ended !== undefined) throw progress.ended
      try {
        return await this.#connect(url, address, progress)
      } catch (error) {
        if (progress.ended !== undefined) throw progress.ended
        problem = error
        // Another address of the same host would not say otherwise.
        if (progress.phase !== 'connect') break
      }
    }
    throw problem
  }

  async #connect(url: URL, address: string, progress: Progress): Promise<Connection> {
    const { timings } = progress
    const isTls = url.protocol === 'https:'
    const ready = Promise.withResolvers<void>()
    const begun = performance.now()
    let opened = 0
    enter(progress, 'connect')
    progress.address = address
    // Not Bun.connect: nobody can take it back before it is open.
    const to = { host: address, port: Number(url.port) || (isTls ? 443 : 80), noDelay: true }
    const socket = isTls ? connectTls({ ...to, ...this.#tlsOf(url) }) : connect(to)
    const connection = new Connection(address, socket)
    socket.on('connect', () => {
      opened = performance.now()
      timings.connectMs += opened - begun
      if (isTls) enter(progress, 'tls')
      else ready.resolve()
    })
    socket.on('secureConnect', () => {
      timings.tlsMs += performance.now() - opened
      connection.certDaysLeft = daysLeft(socket as TLSSocket)
      if (connection.certDaysLeft !== undefined) progress.certDaysLeft = connection.certDaysLeft
      const refusal = refusalOf(socket as TLSSocket, url)
      if (refusal === undefined) ready.resolve()
      else ready.reject(refusal)
    })
    socket.on('data', (piece: Buffer) => connection.received(piece))
    // It says no more, though it may not have read all that it was told.
    socket.on('end', () => connection.closed(undefined))
    socket.on('error', (error) => {
      ready.reject(error)
      connection.closed(error)
    })
    socket.on('close', () => {
      const text = 'the connection was closed while it was opened'
      ready.reject(new MusterError('ECONNRESET', text))
      connection.closed(undefined)
    })
    try {
      await abortable(ready.promise, progress)
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  // The name and the certificate are looked at in `secureConnect`, to tell what is wrong with them.
  #tlsOf(url: URL) {
    const { ca } = this.#options
    const name = nameOf(url)
    return {
      rejectUnauthorized: false,
      ...(isIP(name) === 0 && { servername: name }),
      ...(ca !== undefined && { ca }),
    }
  }

  #takeIdle(origin: string): Connection | undefined {
    const connections = this.#idle.get(origin)
    for (;;) {
      const connection = connections?.pop()
      if (connection === undefined) return undefined
      this.#idleCount -= 1
      if (connections?.length === 0) this.#idle.delete(origin)
      if (!connection.isClosed) return connection
    }
  }

  #putBack(origin: string, connection: Connection): void {
    if (this.#sweeping === undefined) {
      connection.close()
      return
    }
    const connections = this.#idle.get(origin)
    if (connections === undefined) this.#idle.set(origin, [connection])
    else connections.push(connection)
    this.#idleCount += 1
    if (this.#idleCount > this.#idleMax) this.#closeOne()
  }

  /** The oldest one to the origin that has had one for the longest time. */
  #closeOne(): void {
    for (const [origin, connections] of this.#idle) {
      connections.shift()?.close()
      this.#idleCount -= 1
      if (connections.length === 0) this.#idle.delete(origin)
      return
    }
  }

  #sweep(): void {
    const oldest = performance.now() - idleMs
    this.#idleCount = 0
    for (const [origin, connections] of this.#idle) {
      const kept = connections.filter((one) => {
        const isKept = !one.isClosed && one.idleSince > oldest
        if (!isKept) one.close()
        return isKept
      })
      this.#idleCount += kept.length
      if (kept.length === 0) this.#idle.delete(origin)
      else this.#idle.set(origin, kept)
    }
  }
}

/** The promise, or the reason for which the request is given up. */
function abortable<Value>(promise: Promise<Value>, progress: Progress): Promise<Value> {
  const { promise: either, resolve, reject } = Promise.withResolvers<Value>()
  // Given up since it waited last, it has not been told, and would not be again.
  if (progress.ended !== undefined) reject(progress.ended)
  progress.abort = reject
  promise.then(resolve, reject)
  return either
}

function nameOf({ hostname }: URL): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}

/** Why its certificate is not accepted. */
function refusalOf(socket: TLSSocket, url: URL): MusterError | undefined {
  // An error by its type; in truth the code of one.
  const refusal = socket.authorizationError as Error | string | null | undefined
  if (!refusal) return undefined
  const code = typeof refusal === 'string' ? refusal : describeError(refusal).code
  const unfit = checkServerIdentity(nameOf(url), socket.getPeerCertificate())
  const why = code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? unfit?.message : undefined
  return new MusterError(code, `its certificate is not accepted: ${why ?? code}`)
}

function daysLeft(socket: TLSSocket): number | undefined {
  const { valid_to: until } = (socket.getPeerCertificate() ?? {}) as { valid_to?: string }
  const at = until === undefined ? Number.NaN : Date.parse(until)
  return Number.isNaN(at) ? undefined : Math.floor((at - Date.now()) / dayMs)
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
