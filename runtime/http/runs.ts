/** The routes of runs: contract section 8. */
import { Hono } from 'hono'
import type { Dispatcher } from '../../actors/dispatcher.ts'
import { NotFoundError, UsageError } from '../../actors/errors.ts'
import type { Kinds } from '../../actors/kind.ts'
import type { Clock, Log, Results } from '../../actors/ports.ts'
import type { Accounting, Run } from '../../actors/ports-runs.ts'
import { isOutcome, type Outcome, outcomes } from '../../machines/outcome.ts'
import { isFinished, type RunFeed } from './feed.ts'
import { runActionRoutes } from './run-actions.ts'
import { takeSubmission } from './submissions.ts'

export interface RunRoutesOptions {
  accounting: Accounting
  results: Results
  /** The answer of the node that has the results; undefined when that is this one. */
  elsewhere(request: Request): Promise<Response | undefined>
  dispatcher: Dispatcher | undefined
  feed: RunFeed
  kinds: Kinds
  lingerMs: number
  clock: Clock
  log: Log
}

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

  for (const path of ['tasks/:seq', 'results', 'retry']) {
    app.use(`/v1/runs/:id/${path}`, async ({ req }, next) => {
      return (await options.elsewhere(req.raw)) ?? next()
    })
  }

  app.post('/v1/runs', ({ req }) => takeSubmission(options, req.raw, req.query('dryRun') === '1'))

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

  app.route('/', runActionRoutes(options))
  return app
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
