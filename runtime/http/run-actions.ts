/** What may be done to a run: contract sections 4 and 8. */
import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { tasksAgain } from '../../actors/again.ts'
import { ConflictError, NotFoundError } from '../../actors/errors.ts'
import type { Run, RunAction } from '../../actors/ports-runs.ts'
import { type Outcome, outcomes } from '../../machines/outcome.ts'
import { isFinished } from './feed.ts'
import { readJson, reasonBody, retryBody } from './questions.ts'
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
      const { reason = 'no reason was given' } = await readJson(reasonBody, req.raw)
      const run = req.param('id')
      const progress = await accounting.control(run, action, reason)
      log.info({ run, action, reason }, 'a run was told what to do')
      return Response.json(progress.run)
    })
  }

  app.post('/v1/runs/:id/retry', async ({ req }) => {
    const id = req.param('id')
    const { reason, outcomes: wanted = againDefault } = await readJson(retryBody, req.raw)
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
