/** Requests of the client, and the typed errors made of what the node answers. */
import {
  ConflictError,
  describeError,
  MusterError,
  NotAcceptingError,
  NotFoundError,
  TokenError,
  UnavailableError,
  UsageError,
} from '../actors/errors.ts'

export interface HttpOptions {
  /** Base URL of a node, for example `http://127.0.0.1:7070`. */
  url: string
  /** Who carries the requests; the global `fetch` by default. */
  fetch?: (request: Request) => Promise<Response>
  /** Bearer token. */
  token?: string
}

export interface Call {
  method?: string
  accept?: string
  headers?: Record<string, string>
  body?: ReadableStream<Uint8Array>
  signal?: AbortSignal
}

export class HttpClient {
  readonly url: string
  readonly #fetch: (request: Request) => Promise<Response>
  readonly #token: string | undefined

  constructor(options: HttpOptions) {
    this.url = baseUrl(options.url)
    // Uploads and events last as long as they last; Bun would give up after five minutes.
    this.#fetch = options.fetch ?? ((request) => fetch(request, { timeout: false } as RequestInit))
    this.#token = options.token
  }

  /** A request and its answer, or the error its problem document speaks of. */
  async call(path: string, call: Call): Promise<Response> {
    const response = await this.reach(path, call)
    if (response.ok) return response
    throw await problem(response, call.method ?? 'GET', this.url)
  }

  async reach(path: string, call: Call): Promise<Response> {
    const headers = new Headers({ accept: call.accept ?? 'application/json', ...call.headers })
    if (this.#token !== undefined) headers.set('authorization', `Bearer ${this.#token}`)
    const request = new Request(`${this.url}${path}`, {
      method: call.method ?? 'GET',
      headers,
      ...(call.body === undefined ? {} : { body: call.body, duplex: 'half' }),
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    })
    try {
      return await abortable(this.#fetch(request), call.signal)
    } catch (error) {
      call.signal?.throwIfAborted()
      const { message } = describeError(error)
      throw new UnavailableError(`no node answers at ${this.url}: ${message}`, { cause: error })
    }
  }

  async json<Body>(response: Response, signal?: AbortSignal): Promise<Body> {
    try {
      return (await abortable(response.json(), signal)) as Body
    } catch (error) {
      signal?.throwIfAborted()
      throw this.brokenOff(error)
    }
  }

  /** What a failure in the middle of an answer means. */
  brokenOff(error: unknown): UnavailableError {
    const { message } = describeError(error)
    return new UnavailableError(`the answer of ${this.url} broke off: ${message}`, { cause: error })
  }
}

/** A node in this process may not look at the request's signal; whoever waits for it must. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function baseUrl(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new UsageError(
      `url: expected an http or https URL such as http://127.0.0.1:7070, got '${url}'`,
    )
  }
  return url.replace(/\/+$/, '')
}

export function queryString(values: Record<string, string | number | undefined>): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined) search.set(name, String(value))
  }
  return search.size === 0 ? '' : `?${search.toString()}`
}

/** The typed error of an `application/problem+json` answer (or of whatever came instead). */
async function problem(response: Response, method: string, url: string): Promise<MusterError> {
  const text = await response.text().catch(() => '')
  const body = parseProblem(text)
  const detail = body.detail ?? body.title ?? `HTTP ${response.status} ${text.slice(0, 200)}`.trim()
  const { status } = response
  if (status === 401 || status === 403) {
    return new TokenError(`the node at ${url} refused: ${detail}`)
  }
  if (status === 404) return new NotFoundError(detail)
  if (status === 409) return new ConflictError(detail, body.code)
  if (status === 400 || status === 413 || status === 415 || status === 422) {
    return new UsageError(detail, body.code)
  }
  const isRefusal = body.code === undefined || body.code.startsWith('NOT_ACCEPTING')
  if (status === 429 || (status === 503 && method !== 'GET' && isRefusal)) {
    const seconds = Number(response.headers.get('retry-after') ?? 1)
    const draining = body.code === 'NOT_ACCEPTING_DRAINING'
    const reason = status === 429 ? 'full' : draining ? 'draining' : 'paused'
    return new NotAcceptingError(reason, detail, (Number.isFinite(seconds) ? seconds : 1) * 1000)
  }
  if (status === 502 || status === 503 || status === 504) {
    return new UnavailableError(`the node at ${url} cannot answer now: ${detail}`)
  }
  return new MusterError('NODE_FAILED', `the node at ${url} failed (HTTP ${status}): ${detail}`)
}

interface Problem {
  title?: string
  detail?: string
  code?: string
}

function parseProblem(text: string): Problem {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : {}
  } catch {
    // A proxy's HTML page, say: the caller shows the status and the beginning of the text.
    return {}
  }
}
