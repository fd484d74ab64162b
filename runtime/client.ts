/**
 * The library's way to a node: `connect({ url })` speaks its HTTP API. Inside a process that holds
 * a node, `fetch: node.fetch` takes the same road without a socket.
 */
import { TokenError, UnavailableError } from '../actors/errors.ts'
import type { EscalationLine } from '../actors/escalation-list.ts'
import type { NodeLine } from '../actors/membership.ts'
import type { LeaseRecord } from '../actors/ports-fleet.ts'
import type { Run, RunAction } from '../actors/ports-runs.ts'
import type { EndpointLine } from '../actors/prober.ts'
import type { ResultLine } from '../actors/result.ts'
import { haltText, shareText } from '../actors/share.ts'
import type { TaskLine } from '../actors/task.ts'
import type { TreeNode } from '../actors/tree.ts'
import type { Outcome } from '../machines/outcome.ts'
import type {
  Intake,
  Muster,
  ResultsQuery,
  RunEvent,
  RunHandle,
  RunPage,
  SubmitOptions,
  Submitted,
  TaskReport,
} from './client-api.ts'
import { type Call, HttpClient, type HttpOptions, queryString } from './client-http.ts'
import { type DeadLetterCalls, deadLetterCalls } from './client-letters.ts'
import {
  ndjsonPieces,
  pulledStream,
  readEvents,
  readLines,
  type TaskSource,
} from './client-stream.ts'
import { type SystemCalls, systemCalls } from './client-system.ts'
import { type GatheringHandle, Gatherings, type GatherOptions } from './gathering.ts'
import type { DrainAnswer } from './http/nodes.ts'

export type { TaskLine, TaskSource }

export interface ConnectOptions extends HttpOptions {
  /** How long a lost node is looked for again while following a run, ms. Default 30 000. */
  patienceMs?: number
  /** Told how long it took to bring a batch of results to the sets of a gathering, ms. */
  aggregated?: (ms: number) => void
}

/**
 * Reach a node.
 * @throws UnavailableError when nothing answers at the URL
 */
export async function connect(options: ConnectOptions): Promise<Muster> {
  const client = new HttpMuster(options)
  // With `fetch` given the node is at hand; over the network a wrong URL should show here.
  if (options.fetch === undefined) await client.probe()
  return client
}

class HttpMuster implements Muster {
  readonly url: string
  readonly deadLetters: DeadLetterCalls
  readonly system: SystemCalls
  readonly #http: HttpClient
  readonly #patienceMs: number
  readonly #gatherings: Gatherings

  constructor(options: ConnectOptions) {
    this.#http = new HttpClient(options)
    this.url = this.#http.url
    this.deadLetters = deadLetterCalls(this.#http)
    this.system = systemCalls(this.#http)
    this.#patienceMs = options.patienceMs ?? 30_000
    this.#gatherings = new Gatherings(this, options.aggregated)
  }

  async probe(): Promise<void> {
    const response = await this.#http.reach('/healthz', {})
    await response.body?.cancel()
  }

  async submit(tasks: TaskSource, options: SubmitOptions = {}): Promise<RunHandle> {
    const headers: Record<string, string> = {}
    if (options.content !== undefined) headers['muster-content'] = options.content
    if (options.reason !== undefined) headers['muster-reason'] = encodeURIComponent(options.reason)
    if (options.idempotencyKey !== undefined) headers['idempotency-key'] = options.idempotencyKey
    if (options.window !== undefined) headers['muster-window'] = shareText(options.window)
    if (options.halt !== undefined) headers['muster-halt'] = haltText(options.halt)
    let id: string | undefined
    const answer = await this.#send<Submitted>('/v1/runs', tasks, headers, options, (response) => {
      id = /([^/]+)$/.exec(response.headers.get('location') ?? '')?.[1]
      if (id !== undefined) options.onOpen?.(id)
    })
    if (id === undefined) options.onOpen?.(answer.run)
    return this.#handle(answer)
  }

  async check(tasks: TaskSource, options: SubmitOptions = {}): Promise<Intake> {
    return this.#send<Intake>('/v1/runs?dryRun=1', tasks, {}, options)
  }

  gather(tasks: Iterable<TaskLine>, options: GatherOptions = {}): Promise<GatheringHandle> {
    return this.#gatherings.gather(tasks, options)
  }

  async get(run: string): Promise<Run> {
    return this.#http.json<Run>(await this.#http.call(runPath(run), {}))
  }

  async list(page: { after?: string; limit?: number } = {}): Promise<RunPage> {
    return this.#http.json<RunPage>(
      await this.#http.call(`/v1/runs${queryString({ ...page })}`, {}),
    )
  }

  async *runs(): AsyncGenerator<Run> {
    let after: string | undefined
    do {
      const page = await this.list(after === undefined ? {} : { after })
      yield* page.items
      after = page.next
    } while (after !== undefined)
  }

  async *results(run: string, query: ResultsQuery = {}): AsyncGenerator<ResultLine> {
    for await (const lines of this.resultLines(run, query)) {
      for (const line of lines) yield JSON.parse(line) as ResultLine
    }
  }

  async *resultLines(run: string, query: ResultsQuery = {}): AsyncGenerator<string[]> {
    const { outcomes, after, limit } = query
    const search = queryString({ outcome: outcomes?.join(','), after, limit })
    const path = `${runPath(run)}/results${search}`
    const response = await this.#http.call(path, { accept: 'application/x-ndjson' })
    try {
      for await (const lines of readLines(bodyOf(response))) {
        yield lines.filter((line) => line !== '')
      }
    } catch (error) {
      throw this.#http.brokenOff(error)
    }
  }

  async task(run: string, seq: number): Promise<TaskReport> {
    return this.#http.json<TaskReport>(await this.#http.call(`${runPath(run)}/tasks/${seq}`, {}))
  }

  control(run: string, action: RunAction, reason: string): Promise<Run> {
    return this.#post<Run>(`${runPath(run)}/${action}`, { reason })
  }

  async retry(
    run: string,
    options: { outcomes?: readonly Outcome[]; reason?: string } = {},
  ): Promise<RunHandle> {
    return this.#handle(await this.#post<Submitted>(`${runPath(run)}/retry`, options))
  }

  async tree(): Promise<TreeNode> {
    return this.#http.json<TreeNode>(await this.#http.call('/v1/tree', {}))
  }

  async nodes(options: { signal?: AbortSignal } = {}): Promise<NodeLine[]> {
    const response = await this.#http.call('/v1/nodes', options)
    return (await this.#http.json<{ items: NodeLine[] }>(response, options.signal)).items
  }

  async endpoints(options: { signal?: AbortSignal } = {}): Promise<EndpointLine[]> {
    const response = await this.#http.call('/v1/endpoints', options)
    return (await this.#http.json<{ items: EndpointLine[] }>(response, options.signal)).items
  }

  async drain(
    node: string,
    { reason, signal }: { reason?: string; signal?: AbortSignal } = {},
  ): Promise<DrainAnswer> {
    return this.#post(`/v1/nodes/${encodeURIComponent(node)}/drain`, { reason }, signal)
  }

  async leases(): Promise<LeaseRecord[]> {
    const response = await this.#http.call('/v1/leases', {})
    return (await this.#http.json<{ items: LeaseRecord[] }>(response)).items
  }

  async releaseLease(lease: string, reason: string): Promise<LeaseRecord> {
    return this.#post(`/v1/leases/${encodeURIComponent(lease)}/release`, { reason })
  }

  async escalations({ all = false }: { all?: boolean } = {}): Promise<EscalationLine[]> {
    const response = await this.#http.call(`/v1/escalations${all ? '?all=1' : ''}`, {})
    return (await this.#http.json<{ items: EscalationLine[] }>(response)).items
  }

  async acknowledgeEscalation(metric: string, reason?: string): Promise<EscalationLine> {
    return this.#post(`/v1/escalations/${encodeURIComponent(metric)}/ack`, { reason })
  }

  async *events(run: string, options: { signal?: AbortSignal } = {}): AsyncGenerator<RunEvent> {
    let lastId: string | undefined
    let lostAt: number | undefined
    for (;;) {
      try {
        const headers: Record<string, string> =
          lastId === undefined ? {} : { 'last-event-id': lastId }
        const call: Call = { accept: 'text/event-stream', headers, ...options }
        const response = await this.#http.call(`${runPath(run)}/events`, call)
        for await (const event of readEvents(bodyOf(response), options.signal)) {
          lostAt = undefined
          lastId = event.id ?? lastId
          if (event.event !== 'progress' && event.event !== 'done') continue
          yield { type: event.event, run: JSON.parse(event.data) as Run }
          if (event.event === 'done') return
        }
      } catch (error) {
        // A restarting node resets connections; what else is wrong with the run, `get` will say.
        options.signal?.throwIfAborted()
        if (error instanceof TokenError || error instanceof SyntaxError) throw error
      }
      options.signal?.throwIfAborted()
      try {
        const now = await this.get(run)
        lostAt = undefined
        if (isFinal(now)) {
          yield { type: 'done', run: now }
          return
        }
        yield { type: 'progress', run: now }
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        lostAt ??= performance.now()
        if (performance.now() - lostAt > this.#patienceMs) throw error
      }
      await pause(reconnectMs, options.signal)
    }
  }

  #handle(answer: Submitted): RunHandle {
    const follow = this.#done.bind(this)
    const results = this.results.bind(this)
    return {
      id: answer.run,
      accepted: answer.accepted,
      rejectedCount: answer.rejectedCount,
      rejected: answer.rejected,
      resumed: answer.resumed ?? false,
      events: () => this.events(answer.run),
      done: () => follow(answer.run),
      async *results(query) {
        await follow(answer.run)
        yield* results(answer.run, query)
      },
    }
  }

  async #done(run: string): Promise<Run> {
    for await (const event of this.events(run)) {
      if (event.type === 'done') return event.run
    }
    throw new UnavailableError(`${this.url}: the events of ${run} ended before the run did`)
  }

  async #post<Answer>(path: string, body: unknown, signal?: AbortSignal): Promise<Answer> {
    const call: Call = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Blob([JSON.stringify(body)]).stream(),
      ...(signal === undefined ? {} : { signal }),
    }
    return this.#http.json<Answer>(await this.#http.call(path, call), signal)
  }

  /** The answer may begin before the last task is sent: `onHeaders` sees it first. */
  async #send<Answer>(
    path: string,
    tasks: TaskSource,
    headers: Record<string, string>,
    options: Pick<SubmitOptions, 'signal' | 'onSent'>,
    onHeaders?: (response: Response) => void,
  ): Promise<Answer> {
    const { signal, onSent } = options
    let failure: { error: unknown } | undefined
    const body = pulledStream(counted(ndjsonPieces(tasks), onSent), signal, (error) => {
      failure = { error }
    })
    const call: Call = {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/x-ndjson' },
      body,
      ...(signal === undefined ? {} : { signal }),
    }
    try {
      const response = await this.#http.call(path, call)
      onHeaders?.(response)
      return await this.#http.json<Answer>(response, signal)
    } catch (error) {
      // The transfer fails because the source did: say the cause, not its echo.
      throw failure === undefined ? error : failure.error
    }
  }
}

const reconnectMs = 250

function isFinal(run: Run): boolean {
  return run.state === 'completed' || run.state === 'cancelled' || run.state === 'halted'
}

function bodyOf(response: Response): ReadableStream<Uint8Array> {
  return response.body ?? new Blob([]).stream()
}

function runPath(run: string): string {
  return `/v1/runs/${encodeURIComponent(run)}`
}

async function* counted(
  pieces: AsyncGenerator<Uint8Array>,
  onSent: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const piece of pieces) {
    bytes += piece.length
    onSent?.(bytes)
    yield piece
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await Bun.sleep(ms)
  signal?.throwIfAborted()
}
