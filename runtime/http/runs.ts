/** The routes of runs: contract section 8. */
import { Hono } from 'hono'
import type { Dispatcher } from '../../actors/dispatcher.ts'
import { describeError, NotFoundError, UsageError } from '../../actors/errors.ts'
import type { Kinds } from '../../actors/kind.ts'
import type { Submission } from '../../actors/submission.ts'
import type { Accounting, Clock, Log, Results, Run } from '../../actors/ports.ts'
import type { Rejection } from '../../actors/task.ts'
import { isOutcome, type Outcome, outcomes } from '../../machines/outcome.ts'
import { listSource, ndjsonSource } from '../intake.ts'
import { checkKey } from '../idempotency-key.ts'
import { describeValue } from '../rejection.ts'
import { isFinished, type RunFeed } from './feed.ts'
import { problem } from './problem.ts'

export interface RunRoutesOptions {
  accounting: Accounting
  results: Results
  dispatcher: Dispatcher | undefined
  feed: RunFeed
  kinds: Kinds
  lingerMs: number
  clock: Clock
  log: Log
}

/** A JSON submission is read whole. */
const jsonBytesMax = 16 * 1_048_576
/** A submission that takes longer than this to read is named before it is read to its end, ms. */
const earlyAnswerMs = 200
const pageDefault = 100
const pageMax = 1000
/** Rows read at a time while results are streamed. */
const streamRows = 2000
const ndjson = 'application/x-ndjson'

export function runRoutes(options: RunRoutesOptions): Hono {
  const { accounting, results, feed } = options
  const app = new Hono()

  const find = async (id: string): Promise<Run> => {
    const progress = await accounting.get(id)
    if (progress === undefined) {
      throw new NotFoundError(`there is no run ${id}; \`muster ls\` lists those there are`)
    }
    return progress.run
  }

  app.post('/v1/runs', async (context) => {
    const request = context.req.raw
    const type = (request.headers.get('content-type') ?? '').split(';')[0]?.trim()
    if (type !== ndjson && type !== 'application/json') {
      const detail = `expected content-type ${ndjson} or application/json, got ${type || 'none'}`
      return problem(415, 'MEDIA_TYPE', detail)
    }
    const dryRun = context.req.query('dryRun') === '1'
    const read = type === ndjson ? readStream(request, options) : await readJson(request, options)
    if (read instanceof Response) return read
    if (dryRun) return Response.json(await checkOnly(read))
    return submit(options, read)
  })

  app.get('/v1/runs', async (context) => {
    const limit = pageLimit(context.req.query('limit'))
    const after = context.req.query('after')
    const items = await accounting.list({ limit, ...(after === undefined ? {} : { after }) })
    const next = items.length === limit ? items.at(-1)?.id : undefined
    return Response.json({ items, ...(next === undefined ? {} : { next }) })
  })

  app.get('/v1/runs/:id', async (context) => Response.json(await find(context.req.param('id'))))

  app.get('/v1/runs/:id/tasks/:seq', async (context) => {
    const run = await find(context.req.param('id'))
    const seq = wholeNumber('seq', context.req.param('seq'))
    const task = await results.get(run.id, seq)
    if (task === undefined) {
      const why =
        seq >= run.total
          ? `run ${run.id} has ${run.total} tasks, numbered from 0`
          : `task ${seq} of run ${run.id} has no final outcome yet`
      throw new NotFoundError(why)
    }
    return Response.json({ result: task.line, attempts: task.attempts })
  })

  app.get('/v1/runs/:id/results', async (context) => {
    const run = await find(context.req.param('id'))
    const wanted = readOutcomes(context.req.query('outcome'))
    const afterText = context.req.query('after')
    const after = afterText === undefined ? undefined : wholeNumber('after', afterText)
    const limitText = context.req.query('limit')
    if (context.req.header('accept')?.includes(ndjson) === true) {
      const limit =
        limitText === undefined ? Number.POSITIVE_INFINITY : wholeNumber('limit', limitText)
      return streamOf(resultLines(results, run.id, wanted, after, limit), ndjson)
    }
    const limit = pageLimit(limitText)
    const rows = await results.query(run.id, {
      limit,
      ...(wanted === undefined ? {} : { outcomes: wanted }),
      ...(after === undefined ? {} : { after }),
    })
    const next = rows.length === limit ? rows.at(-1)?.seq : undefined
    const items = rows.map((row) => row.line).join(',')
    const body = `{"items":[${items}]${next === undefined ? '' : `,"next":"${next}"`}}`
    return new Response(body, { headers: { 'content-type': 'application/json' } })
  })

  app.get('/v1/runs/:id/events', async (context) => {
    const run = await find(context.req.param('id'))
    return streamOf(events(feed, run.id, context.req.raw.signal), 'text/event-stream')
  })

  return app
}

interface Opened {
  run: string
  resumed: boolean
}

/** A body, ready to be submitted. */
type ReadBody = Omit<Submission, 'onOpen'>

function readStream(request: Request, options: RunRoutesOptions): ReadBody {
  const { kinds, lingerMs } = options
  return {
    source: ndjsonSource(request.body ?? new Blob([]).stream(), { kinds, lingerMs }),
    ...aboutOf(request),
  }
}

async function readJson(request: Request, options: RunRoutesOptions): Promise<ReadBody | Response> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of request.body ?? new Blob([]).stream()) {
    bytes += part.length
    if (bytes > jsonBytesMax) {
      const detail = `expected at most ${jsonBytesMax} bytes of JSON; send ${ndjson} for more`
      return problem(413, 'TOO_LARGE', detail)
    }
    parts.push(part)
  }
  let body: unknown
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts)))
  } catch (error) {
    const got = error instanceof SyntaxError ? `broken JSON (${error.message})` : 'no UTF-8'
    return problem(400, 'BROKEN_JSON', `expected {"tasks": […]}, got ${got}`)
  }
  const tasks =
    typeof body === 'object' && body !== null && 'tasks' in body ? body.tasks : undefined
  if (!Array.isArray(tasks)) {
    const got = body === null || typeof body !== 'object' ? body : tasks
    return problem(400, 'BAD_BODY', `tasks: expected an array of tasks, got ${describeValue(got)}`)
  }
  const fields = new Set(['tasks', 'reason'])
  const unknownField = Object.keys(body as object).find((field) => !fields.has(field))
  if (unknownField !== undefined) {
    const detail = `${unknownField}: expected only tasks and reason, got "${unknownField}"`
    return problem(400, 'BAD_BODY', detail)
  }
  const reason = (body as { reason?: unknown }).reason
  if (reason !== undefined && typeof reason !== 'string') {
    return problem(400, 'BAD_BODY', `reason: expected a string, got ${describeValue(reason)}`)
  }
  return {
    source: listSource(tasks, options.kinds),
    tasks: tasks.length,
    ...aboutOf(request),
    ...(reason === undefined ? {} : { reason }),
  }
}

type AboutRequest = Pick<Submission, 'content' | 'key' | 'reason' | 'signal'>

function aboutOf(request: Request): AboutRequest {
  const content = request.headers.get('muster-content')
  const reason = request.headers.get('muster-reason')
  if (content !== null && !/^[0-9a-f]{64}$/.test(content)) {
    throw new UsageError(`Muster-Content: expected 64 hexadecimal digits, got "${content}"`)
  }
  const key = request.headers.get('idempotency-key')
  if (key !== null) checkKey('Idempotency-Key', key)
  return {
    signal: request.signal,
    ...(content === null ? {} : { content }),
    ...(key === null ? {} : { key }),
    ...(reason === null ? {} : { reason: decodePercent('Muster-Reason', reason) }),
  }
}

function decodePercent(header: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new UsageError(`${header}: expected percent-encoded UTF-8, got "${text}"`)
  }
}

/** Read the whole source and run nothing. */
async function checkOnly(body: ReadBody): Promise<object> {
  let accepted = 0
  let rejectedCount = 0
  const rejected: Rejection[] = []
  const ids = new Set<string>()
  for await (const { read } of body.source(0)) {
    for (const { line, accepted: task, rejection } of read) {
      const id = task?.task.id
      const isTaken = id !== undefined && ids.has(id)
      if (id !== undefined) ids.add(id)
      if (rejection === undefined && !isTaken) accepted += 1
      else {
        rejectedCount += 1
        const message = `expected an id that is new in this run, got ${JSON.stringify(id)} again`
        if (rejected.length < 1000) rejected.push(rejection ?? { line, path: 'id', message })
      }
    }
  }
  return { accepted, rejectedCount, rejected }
}

/**
 * Submit, and answer when all is durable. A source that goes on and on is answered with the run's
 * name in the headers first, so that the run can be watched; the body follows at the end.
 */
async function submit(options: RunRoutesOptions, body: ReadBody): Promise<Response> {
  const { dispatcher, clock } = options
  if (dispatcher === undefined) {
    const detail = 'this node does not dispatch (its roles leave it out); submit to another one'
    return problem(503, 'NOT_ACCEPTING_DRAINING', detail, { 'retry-after': '5' })
  }
  const opened = Promise.withResolvers<Opened>()
  const onOpen = (run: string, resumed: boolean) => opened.resolve({ run, resumed })
  const submitted = dispatcher.submit({ ...body, onOpen })
  const answer = submitted.then(({ run, resumed }) =>
    JSON.stringify({
      run: run.id,
      accepted: run.total,
      rejectedCount: run.rejectedCount,
      rejected: run.rejected,
      ...(resumed ? { resumed } : {}),
    }),
  )
  // Where it is refused before it is opened, that is thrown below, and nobody asks for the answer.
  answer.catch(() => undefined)
  const first = submitted.then(({ run, resumed }): Opened => ({ run: run.id, resumed }))
  const { run, resumed } = await Promise.race([opened.promise, first])
  // Under a key nothing more was accepted than there was.
  const status = resumed && body.key !== undefined ? 200 : 202
  const early = clock.wait(earlyAnswerMs).then(() => undefined)
  const text = await Promise.race([answer, early])
  const headers = { 'content-type': 'application/json', location: `/v1/runs/${run}` }
  if (text !== undefined) return new Response(text, { status, headers })
  let isLeft = false
  const late = new ReadableStream<Uint8Array>({
    async start(controller) {
      try {
        // Headers leave the server with the first byte of the body: white space before JSON.
        controller.enqueue(new TextEncoder().encode(' '))
        const bytes = new TextEncoder().encode(await answer)
        if (isLeft) return
        controller.enqueue(bytes)
        controller.close()
      } catch (error) {
        options.log.warn({ run, ...describeError(error) }, 'a submission broke off')
        if (!isLeft) controller.error(error)
      }
    },
    cancel() {
      isLeft = true
    },
  })
  return new Response(late, { status, headers })
}

async function* resultLines(
  results: Results,
  run: string,
  wanted: readonly Outcome[] | undefined,
  start: number | undefined,
  limit: number,
): AsyncGenerator<string> {
  let after = start
  for (let left = limit; left > 0; ) {
    const rows = await results.query(run, {
      limit: Math.min(left, streamRows),
      ...(wanted === undefined ? {} : { outcomes: wanted }),
      ...(after === undefined ? {} : { after }),
    })
    const last = rows.at(-1)
    if (last === undefined) return
    yield `${rows.map((row) => row.line).join('\n')}\n`
    after = last.seq
    left -= rows.length
  }
}

async function* events(feed: RunFeed, run: string, signal: AbortSignal): AsyncGenerator<string> {
  for await (const now of feed.follow(run, signal)) {
    const name = isFinished(now) ? 'done' : 'progress'
    const id = now.total - now.counts.pending
    yield `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(now)}\n\n`
  }
}

/** A response that pulls its text, and stops its source when nobody reads any more. */
function streamOf(source: AsyncGenerator<string>, type: string): Response {
  const encoder = new TextEncoder()
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

/** Undefined when all are wanted. */
function readOutcomes(text: string | undefined): Outcome[] | undefined {
  if (text === undefined || text === '') return undefined
  return text.split(',').map((word) => {
    if (isOutcome(word)) return word
    throw new UsageError(`outcome: expected one of ${outcomes.join(', ')}, got "${word}"`)
  })
}

function pageLimit(text: string | undefined): number {
  if (text === undefined) return pageDefault
  const limit = wholeNumber('limit', text)
  if (limit < 1 || limit > pageMax) {
    throw new UsageError(`limit: expected 1 to ${pageMax}, got ${limit}`)
  }
  return limit
}

function wholeNumber(name: string, text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new UsageError(`${name}: expected a whole number, got "${text}"`)
}
