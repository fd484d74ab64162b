/** What may be done to a run: contract sections 4 and 8. */
import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { tasksAgain } from '../../actors/again.ts'
import { ConflictError, NotFoundError, UsageError } from '../../actors/errors.ts'
import type { Run, RunAction } from '../../actors/ports-runs.ts'
import { isOutcome, type Outcome, outcomes } from '../../machines/outcome.ts'
import { describeValue } from '../rejection.ts'
import { isFinished } from './feed.ts'
import { readBody, readReason } from './reason.ts'
import type { RunRoutesOptions } from './runs.ts'
import { submit } from './submissions.ts'

/** What is tried again unless it is said what. */
const againDefault: readonly Outcome[] = outcomes.filter((outcome) => outcome !== 'ok')

const actions = ['pause', 'resume', 'cancel'] as const satisfies RunAction[]

export function runActionRoutes(options: RunRoutesOptions): Hono {
  const { accounting, results, kinds, log } = options
  const app = new Hono()

  for (const action of actions) {
    app.post(`/v1/runs/:id/${action}`, async ({ req }) => {
      const reason = (await readReason(req.raw)) ?? 'no reason was given'
      const run = req.param('id')
      const progress = await accounting.control(run, action, reason)
      log.info({ run, action, reason }, 'a run was told what to do')
      return Response.json(progress.run)
    })
  }

  app.post('/v1/runs/:id/retry', async ({ req }) => {
    const id = req.param('id')
    const body = await readBody(req.raw)
    const reason = await readReason(body)
    const wanted = readOutcomes(body['outcomes'])
    const progress = await accounting.get(id)
    if (progress === undefined) {
      throw new NotFoundError(`there is no run ${id}; \`muster ls\` lists those there are`)
    }
    const { run } = progress
    if (!isFinished(run)) throw unfinished(run)
    const content = createHash('sha256').update(`again ${id} ${wanted.toSorted().join(' ')}`)
    return submit(options, {
      source: tasksAgain(results, kinds, id, wanted),
      content: content.digest('hex'),
      parent: id,
      ...(run.labels === undefined ? {} : { labels: run.labels }),
      ...(reason === undefined ? {} : { reason }),
    })
  })

  return app
}

function unfinished({ id, state }: Run): ConflictError {
  const message = `run ${id} is ${state}: wait for its end (muster watch ${id}), or cancel it`
  return new ConflictError(message, 'ILLEGAL_TRANSITION')
}

function readOutcomes(value: unknown): readonly Outcome[] {
  if (value === undefined) return againDefault
  const isList = Array.isArray(value) && value.length > 0
  const bad = isList ? value.find((word) => typeof word !== 'string' || !isOutcome(word)) : value
  if (!isList || bad !== undefined) {
    const got = describeValue(bad)
    throw new UsageError(`outcomes: expected a list of ${outcomes.join(', ')}, got ${got}`)
  }
  return value as Outcome[]
}
