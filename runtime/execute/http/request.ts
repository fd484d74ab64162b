/** The executor of kind `http`: one request, its redirects, and what was expected of the answer. */
import { readFileSync } from 'node:fs'
import { describeError, MusterError } from '../../../actors/errors.ts'
import type { HttpInput, HttpOutput } from '../../../actors/http-input.ts'
import type { ExecuteContext, Execution, Executor } from '../../../actors/ports.ts'
import { sayable } from '../../../actors/sayable.ts'
import { Abortions } from '../abortions.ts'
import { refusedInput } from '../refused-input.ts'
import { traceparentOf } from '../trace.ts'
import { type Lookup, systemLookup } from './addresses.ts'
import { bodyMatches, httpInput, isPlainInput } from './body-pattern.ts'
import { ConnectionPool } from './connection.ts'
import { giveUp, type PhaseLimits, PhaseWatch, type Progress } from './progress.ts'
import { type AnswerReader, type Request, requestBytes } from './wire.ts'

export interface HttpOptions {
  /** Of one attempt with all its redirects, unless the task says otherwise. */
  timeoutMs: number
  /** Of each phase of each request. */
  phaseMs?: PhaseLimits
  /** Bytes of the body kept, unless the task says otherwise. */
  bytesMax: number
  linkLocal: 'refuse' | 'allow'
  /** PEM file with the authorities to trust. */
  caFile?: string | undefined
  /** Connections kept for the next request, over all hosts. */
  idleMax?: number
  lookup?: Lookup
}

const redirectsDefault = 5
const redirecting = new Set([301, 302, 303, 307, 308])
/** They belong to the host they were written for. */
const credentials = new Set(['authorization', 'cookie', 'proxy-authorization'])
const timerMsMax = 2 ** 31 - 1

export function httpExecutor(options: HttpOptions): Executor {
  let pool: ConnectionPool | undefined
  const running = new Set<Progress>()
  const watch = new PhaseWatch(options.phaseMs ?? {}, running)
  const abortions = new Abortions()
  return {
    async start() {
      if (pool !== undefined) return
      const { caFile, lookup = systemLookup, linkLocal, idleMax } = options
      const ca = caFile === undefined ? undefined : readFileSync(caFile, 'utf8')
      const isAllowed = linkLocal === 'allow'
      pool = new ConnectionPool({
        lookup,
        isAllowed,
        ...(ca !== undefined && { ca }),
        ...(idleMax !== undefined && { idleMax }),
      })
      pool.start()
    },
    async stop() {
      for (const progress of running) giveUp(progress, stopped('its executor was stopped'))
      watch.stop()
      pool?.stop()
      pool = undefined
    },
    run(task, context) {
      let input = task.input as HttpInput
      if (!isPlainInput(input)) {
        const parsed = httpInput.safeParse(input)
        if (!parsed.success) return refusedInput(parsed.error.issues)
        input = parsed.data
      }
      if (pool === undefined) return { ...failed(stopped('not started')), stage: 'start' }
      const timeoutMs = Math.min(task.timeoutMs ?? options.timeoutMs, timerMsMax)
      const maxBytes = input.maxBytes ?? options.bytesMax
      watch.wake()
      const limits = { context, timeoutMs, maxBytes }
      return new Attempt(pool, input, { ...limits, running, abortions }).run()
    },
  }
}

function stopped(why: string): MusterError {
  return new MusterError('ABORTED', `stopped before it ended: ${why}`)
}

interface AttemptOptions {
  context: ExecuteContext
  timeoutMs: number
  maxBytes: number
  running: Set<Progress>
  abortions: Abortions
}

class Attempt {
  readonly #pool: ConnectionPool
  readonly #input: HttpInput
  readonly #options: AttemptOptions
  readonly #trace: string
  readonly #begun = performance.now()
  readonly #progress: Progress = {
    timings: { resolveMs: 0, connectMs: 0, tlsMs: 0, processingMs: 0, transferMs: 0 },
    phase: 'resolve',
  }
  #url: URL
  #redirects = 0
  #answer: AnswerReader | undefined
  /** Read as text. */
  #body: string | undefined

  constructor(pool: ConnectionPool, input: HttpInput, options: AttemptOptions) {
    this.#pool = pool
    this.#input = input
    this.#options = options
    this.#url = new URL(input.url)
    this.#trace = traceparentOf(options.context)
  }

  async run(): Promise<Execution> {
    const { context, timeoutMs, running, abortions } = this.#options
    const { signal } = context
    const onAbort = () => this.#end(stopped('its run or its worker did not want it any more'))
    const timer = setTimeout(() => {
      const text = `did not end within ${timeoutMs} ms; it was at: ${this.#progress.phase}`
      this.#end(new MusterError('TIMEOUT', text))
    }, timeoutMs)
    abortions.listen(signal, onAbort)
    running.add(this.#progress)
    try {
      await this.#follow()
      const unmet = this.#unmet()
      const told = { output: this.#output(), trace: this.#trace }
      return unmet === undefined ? { outcome: 'ok', ...told } : { ...failed(unmet), ...told }
    } catch (error) {
      return { ...failed(asRefusal(error)), output: this.#output(), trace: this.#trace }
    } finally {
      clearTimeout(timer)
      abortions.leave(signal, onAbort)
      running.delete(this.#progress)
    }
  }

  #end(reason: Error): void {
    giveUp(this.#progress, reason)
  }

  async #follow(): Promise<void> {
    const { method = 'GET', headers = {}, body, maxRedirects = redirectsDefault } = this.#input
    let request: Request = {
      method,
      url: this.#url,
      headers: withTrace(headers, this.#trace),
      ...(body !== undefined && { body }),
    }
    for (;;) {
      if (this.#progress.ended !== undefined) throw this.#progress.ended
      const bounds = { method: request.method, maxBytes: this.#options.maxBytes }
      const bytes = requestBytes(request)
      this.#answer = await this.#pool.exchange(this.#url, bytes, bounds, this.#progress)
      const next = this.#redirectOf(this.#answer)
      if (next === undefined) return
      if (this.#redirects >= maxRedirects) {
        const text = `was redirected more than ${maxRedirects} times, at last to ${next.href}`
        throw new MusterError('TOO_MANY_REDIRECTS', text)
      }
      this.#redirects += 1
      request = redirected(request, this.#answer.status, next)
      this.#url = next
      // Should nobody answer there, this would be told as the answer of that one.
      this.#answer = undefined
      delete this.#progress.address
      delete this.#progress.certDaysLeft
    }
  }

  #redirectOf({ status, headers }: AnswerReader): URL | undefined {
    const isAsked = this.#input.maxRedirects !== 0
    const said = headers['location']
    if (!isAsked || said === undefined || !redirecting.has(status)) return undefined
    const location = asUtf8(said)
    const next = URL.canParse(location, this.#url.href) ? new URL(location, this.#url) : undefined
    if (next?.protocol === 'http:' || next?.protocol === 'https:') return next
    throw new MusterError(
      'EPROTO',
      `was redirected to ${JSON.stringify(location)}, neither http: nor https:`,
    )
  }

  #unmet(): MusterError | undefined {
    const { status, bodyMatches: pattern, certDaysLeft } = this.#input.expect ?? {}
    const got = this.#answer?.status ?? 0
    const isExpected =
      status === undefined ? got >= 200 && got < 300 : [status].flat().includes(got)
    if (!isExpected) {
      const wanted = status === undefined ? '200 to 299' : [status].flat().join(' or ')
      return new MusterError('HTTP_STATUS', `expected status ${wanted}, got ${got}`)
    }
    if (pattern !== undefined && !bodyMatches(pattern, this.#text())) {
      return new MusterError('HTTP_BODY', `expected a body that matches /${pattern}/, got none`)
    }
    if (certDaysLeft === undefined) return undefined
    const left = this.#progress.certDaysLeft
    if (left !== undefined && left >= certDaysLeft) return undefined
    const has = left === undefined ? 'no certificate, for this is not https' : `${left}`
    const text = `expected a certificate for ${certDaysLeft} more days, got ${has}`
    return new MusterError('CERT_DAYS_LEFT', text)
  }

  #text(): string {
    this.#body ??= this.#answer?.text() ?? ''
    return this.#body
  }

  #output(): HttpOutput {
    const { timings, address, certDaysLeft } = this.#progress
    const answer = this.#answer
    const body = sayable(this.#text())
    return {
      ...(answer !== undefined && {
        status: answer.status,
        headers: answer.headers,
        body,
        truncated: answer.truncated || body.length < this.#text().length,
        bodyBytes: answer.bytes,
      }),
      url: this.#url.href,
      ...(address !== undefined && { address }),
      redirects: this.#redirects,
      ...(certDaysLeft !== undefined && { certDaysLeft }),
      timings: {
        resolveMs: rounded(timings.resolveMs),
        connectMs: rounded(timings.connectMs),
        tlsMs: rounded(timings.tlsMs),
        processingMs: rounded(timings.processingMs),
        transferMs: rounded(timings.transferMs),
      },
      durationMs: rounded(performance.now() - this.#begun),
    }
  }
}

/** Heads are read as Latin-1; where URLs are not escaped they are UTF-8, as browsers read them. */
function asUtf8(text: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'latin1'))
  } catch {
    return text
  }
}

/** To the microsecond. */
const rounded = (ms: number) => Math.round(ms * 1000) / 1000

function withTrace(headers: Request['headers'], traceparent: string): Request['headers'] {
  for (const name in headers) if (name.toLowerCase() === 'traceparent') return headers
  return { ...headers, traceparent }
}

/** As browsers do it: 303 asks with GET, and so do 301 and 302 after a POST. */
function redirected(request: Request, status: number, next: URL): Request {
  const { method, url, headers, body } = request
  const isGet = (status === 303 && method !== 'HEAD') || (status < 303 && method === 'POST')
  const isElsewhere = url.origin !== next.origin
  const kept = Object.entries(headers).filter(([name]) => {
    const lower = name.toLowerCase()
    if (isElsewhere && (credentials.has(lower) || lower === 'host')) return false
    return !(isGet && lower === 'content-type')
  })
  return {
    method: isGet ? 'GET' : method,
    url: next,
    headers: Object.fromEntries(kept),
    ...(!isGet && body !== undefined && { body }),
  }
}

function failed(error: Error): Execution {
  const { code, message } = describeError(error)
  return {
    outcome: code === 'TIMEOUT' ? 'timeout' : 'failed',
    error: { code, message },
    // What was refused here will be refused again.
    stage: code === 'ADDRESS_REFUSED' ? 'terminal' : 'run',
  }
}

function asRefusal(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
