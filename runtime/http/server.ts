/** The node's port: who gets in, and how long anybody may take. */
import { describeError, TokenError, UnavailableError } from '../../actors/errors.ts'
import type { Config } from '../../config/schema.ts'
import { systemClock } from '../clock.ts'
import { guard } from './guard.ts'
import { problem, problemOf } from './problem.ts'
import { AddressRate } from './rate.ts'
import { isStreamed, readWhole, whenRead } from './requests.ts'
import type { Sessions } from './sessions.ts'
import { beating } from './streams.ts'
import { readTokens, type Token } from './token.ts'

export interface HttpServer {
  url: string
  stop(): Promise<void>
}

export type BunServer = Bun.Server<unknown>
type Answer = Response | undefined

export interface HttpServerOptions {
  config: Config['http']
  /** Without any, everybody who reaches it may do everything. */
  tokens: readonly Token[]
  sessions: Sessions
  /** Of tokens that were wrong. */
  guesses: AddressRate
  /** What is answered; undefined when it has become a WebSocket. */
  handle(request: Request, server: BunServer): Answer | Promise<Answer>
  websocket?: Bun.WebSocketHandler<unknown>
}

/** Refused for their number, not for what they ask. */
const busySeconds = 1

/**
 * @throws TokenError when it would be open to the network without a token, UnavailableError when
 * the port is taken
 */
export function httpServer(options: HttpServerOptions): HttpServer {
  const { config, tokens, websocket } = options
  const { host, port } = config
  refuseOpen(host, tokens)
  const answer = answering(options)
  try {
    const server = Bun.serve({
      hostname: host,
      port,
      idleTimeout: idleSeconds(config),
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // Otherwise Bun answers with pages of its own, and prints what breaks off.
      development: false,
      // Which would otherwise mean that two nodes may listen on one port.
      reusePort: false,
      error: problemOf,
      fetch: answer,
      ...(websocket === undefined ? {} : { websocket }),
    } as Parameters<typeof Bun.serve>[0])
    return {
      url: `http://${reachable(host)}:${server.port}`,
      stop: () => server.stop(true),
    }
  } catch (error) {
    throw new UnavailableError(
      `cannot listen on ${host}:${port}: ${describeError(error).message}; ` +
        'choose another port with --port (0 takes any that is free)',
      { cause: error, code: 'PORT_TAKEN' },
    )
  }
}

/**
 * The tokens of a node that is to listen: what is wrong with them shows before anything is started.
 * @throws TokenError, UsageError
 */
export function tokensOf({ host, tokenFile }: Config['http'], isListening: boolean): Token[] {
  const tokens = readTokens(tokenFile)
  if (isListening) refuseOpen(host, tokens)
  return tokens
}

function refuseOpen(host: string, tokens: readonly Token[]): void {
  if (tokens.length > 0 || isLoopback(host)) return
  throw new TokenError(
    `http.host: ${host} is not a loopback address, and whoever reaches it could run commands; ` +
      'set a token with --token-file FILE, or listen on 127.0.0.1',
  )
}

const isProbe = ({ url }: Request) => /^[^?]*\/(?:healthz|readyz)$/.test(url)

function answering(options: HttpServerOptions) {
  const { config, tokens, sessions, guesses, handle } = options
  const check = guard({ host: config.host, tokens, sessions, guesses })
  const now = () => systemClock.monotonic()
  const rate = new AddressRate({ perSecond: config.rate, burst: config.burst, now })
  const seconds = idleSeconds(config)

  const refusal = (request: Request, server: BunServer): Response | undefined => {
    const address = server.requestIP(request)?.address ?? ''
    // Whoever asks whether it lives gets an answer, and takes nothing from those who work with it.
    const waitSeconds = isProbe(request) ? 0 : rate.take(address)
    if (waitSeconds > 0) return busy(429, 'more requests a second than http.rate', waitSeconds)
    if (server.pendingRequests > config.requestsMax) {
      return busy(503, 'more requests under way than http.requestsMax', busySeconds)
    }
    return check(request, address)
  }

  return async (request: Request, server: BunServer): Promise<Answer> => {
    const refused = refusal(request, server)
    // What is not read must not follow either.
    if (refused !== undefined) {
      if (request.body !== null) refused.headers.set('connection', 'close')
      return hardened(refused)
    }
    // As long as we read it or think about it, we look at the time ourselves.
    server.timeout(request, 0)
    const isLines = isStreamed(request)
    if (isLines) whenRead(request, () => server.timeout(request, seconds))
    const whole = isLines ? request : await readWhole(request, config.bodyMs)
    const response = whole instanceof Response ? whole : await handle(whole, server)
    if (response === undefined) return undefined
    // Lines are maybe still being read, while the answer has begun.
    if (!isLines || response.status >= 400) server.timeout(request, seconds)
    return hardened(beating(response, (seconds * 1000) / 3))
  }
}

function idleSeconds({ idleMs }: Config['http']): number {
  return Math.ceil(idleMs / 1000)
}

function busy(status: 429 | 503, what: string, waitSeconds: number): Response {
  const detail = `${what}; try again in ${waitSeconds} s`
  return problem(status, 'BUSY', detail, { 'retry-after': String(waitSeconds) })
}

/** Nobody may take it for what it is not, or show it as a part of theirs. */
function hardened(response: Response): Response {
  const { headers } = response
  headers.set('x-content-type-options', 'nosniff')
  headers.set('cross-origin-resource-policy', 'same-origin')
  // Without any, browsers send the login form with the Origin "null".
  headers.set('referrer-policy', 'same-origin')
  if (!headers.has('x-frame-options')) headers.set('x-frame-options', 'SAMEORIGIN')
  return response
}

/** A name under which an address that is listened on can be reached from this machine. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}
