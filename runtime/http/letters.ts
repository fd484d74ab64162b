/** Dead letters: what reached nobody, or killed its worker, and how to try it again. */
import { Hono } from 'hono'
import { z } from 'zod'
import type { DeadLetter } from '../../actors/dead-letters.ts'
import { UsageError } from '../../actors/errors.ts'
import {
  type Letter,
  type LetterFilter,
  letterReasons,
  type WholeLetter,
} from '../../actors/ports-letters.ts'
import { type RedriveOptions, redrive } from '../../actors/redrive.ts'
import { fieldsOf, problemOf } from '../rejection.ts'
import { reasonMax } from './reason.ts'

export interface LetterRoutesOptions {
  /** Messages between actors of this process that reached nobody; newest first. */
  local(): DeadLetter[]
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
const pageMax = 1000
/** Letters named in one request. */
const idsMax = 1000

const filterSchema = z.strictObject({
  run: z.string().min(1).optional(),
  kind: z.string().min(1).optional(),
  mailbox: z.string().min(1).optional(),
  reason: z.enum(letterReasons).optional(),
})

const bodySchema = z.strictObject({
  ids: z.array(z.string().min(1)).min(1).max(idsMax).optional(),
  filter: filterSchema.optional(),
  reason: z.string().trim().min(1).max(reasonMax),
})

const querySchema = z.strictObject({
  ...filterSchema.shape,
  // Those of actors have a reason of their own.
  reason: z.enum([...letterReasons, 'stopped']).optional(),
  state: z.enum(['open', 'redriven']).optional(),
  id: z.string().min(1).optional(),
  after: z
    .string()
    .regex(/^\d{1,15}$/)
    .optional(),
  limit: z.coerce.number<string>().int().min(1).max(pageMax).optional(),
})

type Query = z.infer<typeof querySchema>

export function letterRoutes(options: LetterRoutesOptions): Hono {
  const app = new Hono()
  app.get('/v1/deadletters', async ({ req }) => {
    const query = read(querySchema, req.query())
    if (query.id !== undefined) {
      const [letter] = await options.redriving().letters.get([query.id])
      const items = letter === undefined ? [] : [{ scope: 'mailbox', ...letter }]
      return Response.json({ items })
    }
    return Response.json(await list(options, query))
  })
  app.post('/v1/deadletters/redrive', async ({ req }) => {
    const { ids, filter, reason } = read(bodySchema, readObject(await req.text()))
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

function read<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { path, message } = problemOf(parsed.error, value, fieldsOf(schema))
  throw new UsageError(path === '' ? message : `${path}: ${message}`)
}

function readObject(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const got = error instanceof Error ? error.message : 'something else'
    throw new UsageError(`expected a JSON object such as {"ids": […], "reason": "…"}, got ${got}`)
  }
}
