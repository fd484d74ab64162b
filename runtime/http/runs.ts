/** The routes of runs: contract section 8. */
import { Hono } from 'hono'
import { z } from 'zod'
import type { Dispatcher } from '../../actors/dispatcher.ts'
import { NotFoundError, UsageError } from '../../actors/errors.ts'
import type { Kinds } from '../../actors/kind.ts'
import type { Clock, Log, Results } from '../../actors/ports.ts'
import type { Accounting, Run } from '../../actors/ports-runs.ts'
import type { Outcome } from '../../machines/outcome.ts'
import { isFinished, type RunFeed } from './feed.ts'
import {
  pageMax,
  pageQuery,
  read,
  readQuery,
  resultsQuery,
  seqPath,
  submitQuery,
} from './questions.ts'
import { ndjson } from './requests.ts'
import { runActionRoutes } from './run-actions.ts'
import { streamOf } from './streams.ts'
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
  /** Silence after which a submission that is a stream is broken off. */
  streamSilenceMs: number
  clock: Clock
  log: Log
}

const pageDefault = 100
/** Rows read at a time while results are streamed. */
const streamRows = 2000

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

  app.post('/v1/runs', ({ req }) => {
    const { dryRun } = readQuery(submitQuery, req.raw)
    return takeSubmission(options, req.raw, dryRun === '1')
  })

  app.get('/v1/runs', async (context) => {
    const query = readQuery(pageQuery, context.req.raw)
    if (context.req.header('accept')?.includes(ndjson) === true) {
      return streamOf(runLines(accounting, query), ndjson)
    }
    const { limit = pageDefault, after } = query
    const items = await accounting.list({ limit, ...(after === undefined ? {} : { after }) })
    const next = items.length === limit ? items.at(-1)?.id : undefined
    return Response.json({ items, ...(next === undefined ? {} : { next }) })
  })

  app.get('/v1/runs/:id', async (context) => Response.json(await find(context.req.param('id'))))

  app.get('/v1/runs/:id/tasks/:seq', async (context) => {
    const run = await find(context.req.param('id'))
    const { seq } = read(z.object({ seq: seqPath }), { seq: context.req.param('seq') })
    const task = await results.get(run.id, seq)
    if (task === undefined) {
      const why =
        seq >= run.total
          ? `run ${run.id} has ${run.total} tasks, numbered from 0`
          : `task ${seq} of run ${run.id} has no final outcome yet`
      throw new NotFoundError(why)
    }
    const { line: result, attempts, routing } = task
    return Response.json({ result, attempts, ...(routing === undefined ? {} : { routing }) })
  })

  app.get('/v1/runs/:id/results', async (context) => {
    const run = await find(context.req.param('id'))
    const query = readQuery(resultsQuery, context.req.raw)
    const { outcome: wanted, after, fold } = query
    if (fold === 'exact' || fold === 'similar') {
      const { foldedResults } = await import('./folded.ts')
      return Response.json(await foldedResults(results, run, wanted, fold))
    }
    if (context.req.header('accept')?.includes(ndjson) === true) {
      const { limit = Number.POSITIVE_INFINITY } = query
      return streamOf(resultLines(results, run.id, wanted, after, limit), ndjson)
    }
    const { limit = pageDefault } = query
    if (limit < 1 || limit > pageMax)
      throw new UsageError(`limit: expected 1 to ${pageMax}, got ${limit}`)
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

async function* runLines(
  accounting: Accounting,
  { limit = Number.POSITIVE_INFINITY, after: start }: z.infer<typeof pageQuery>,
): AsyncGenerator<string> {
  let after = start
  for (let left = limit; left > 0; ) {
    const most = Math.min(left, pageDefault)
    const runs = await accounting.list({
      limit: most,
      ...(after === undefined ? {} : { after }),
    })
    if (runs.length > 0) yield runs.map((run) => `${JSON.stringify(run)}\n`).join('')
    if (runs.length < most) return
    after = runs.at(-1)?.id
    left -= runs.length
  }
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

/** Each event is the whole run as it is: whoever comes back has missed nothing with the first. */
async function* events(feed: RunFeed, run: string, signal: AbortSignal): AsyncGenerator<string> {
  for await (const now of feed.follow(run, signal)) {
    const name = isFinished(now) ? 'done' : 'progress'
    const id = now.total - now.counts.pending
    yield `id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(now)}\n\n`
  }
}
