/** Dead letters: what reached nobody, or killed its worker, and how to try it again. */
import { Hono } from 'hono'
import type { z } from 'zod'
import type { DeadLetter } from '../../actors/dead-letters.ts'
import { UsageError } from '../../actors/errors.ts'
import type { Kinds } from '../../actors/kind.ts'
import { type Letter, type LetterFilter, type WholeLetter } from '../../actors/ports-letters.ts'
import { type RedriveOptions, redrive } from '../../actors/redrive.ts'
import { hidden, hideSecrets } from '../../actors/secret.ts'
import { lettersQuery, readJson, readQuery, redriveBody } from './questions.ts'

export interface LetterRoutesOptions {
  /** Messages between actors of this process that reached nobody; newest first. */
  local(): DeadLetter[]
  /** Whose secrets are hidden. */
  kinds?: Kinds
  /** Asked for at each request: the ports are made anew when Redis was opened anew. */
  redriving(): RedriveOptions
}

/**
 * One of a list: of a mailbox, and so of all nodes, or between actors of the process that was
 * asked.
 */
export type LetterLine = ({ scope: 'mailbox' } & Letter) | ({ scope: 'local' } & DeadLetter)

/** With what was in it. */
export type WholeLetterLine = { scope: 'mailbox' } & WholeLetter

const pageDefault = 100

type Query = z.infer<typeof lettersQuery>

export function letterRoutes(options: LetterRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/deadletters', async ({ req }) => {
    const query = readQuery(lettersQuery, req.raw)
    if (query.id !== undefined) {
      const [letter] = await options.redriving().letters.get([query.id])
      const items = letter === undefined ? [] : [{ scope: 'mailbox', ...shown(letter, options) }]
      return Response.json({ items })
    }
    return Response.json(await list(options, query))
  })
  app.post('/v1/deadletters/redrive', async ({ req }) => {
    const { ids, filter, reason } = await readJson(redriveBody, req.raw)
    const given = [ids, filter].filter((each) => each !== undefined).length
    if (given !== 1) {
      const got = given === 0 ? 'neither' : 'both'
      throw new UsageError(`expected ids or a filter ({} for all), got ${got}`)
    }
    const wanted = ids === undefined ? { filter: compact(filter ?? {}) } : { ids }
    return Response.json(await redrive(options.redriving(), wanted, reason))
  })
  return app
}

/** What is in it, without the secrets of tasks: of a kind that is not known here, without all. */
function shown(letter: WholeLetter, { kinds }: LetterRoutesOptions): WholeLetter {
  const { task } = letter
  if (task?.input === undefined) return letter
  const schema = kinds?.get(task.kind)?.input
  const input = schema === undefined ? hidden : hideSecrets(schema, task.input)
  return { ...letter, task: { ...task, input } }
}

/** Those of mailboxes page by page; those of this process, which are few, with the last page. */
async function list(
  { local, redriving }: LetterRoutesOptions,
  query: Query,
): Promise<{ items: LetterLine[]; next?: string }> {
  const { run, kind, mailbox, reason, state, after, limit = pageDefault } = query
  const items: LetterLine[] = []
  if (reason !== 'stopped') {
    const filter = compact({ run, kind, mailbox, reason, state, after })
    const page = await redriving().letters.list({ ...filter, limit })
    for (const letter of page.items) items.push({ scope: 'mailbox', ...letter })
    if (page.next !== undefined) return { items, next: page.next }
  }
  const isOfMailboxes = [run, kind, mailbox, state].some((word) => word !== undefined)
  if (!isOfMailboxes && (reason === undefined || reason === 'stopped')) {
    for (const letter of local()) items.push({ scope: 'local', ...letter })
  }
  return { items }
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Without what is not given. */
function compact<T extends LetterFilter | Query>(
  fields: {
    [K in keyof T]: T[K] | undefined
  },
): Given<T> {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given) as Given<T>
}
