/**
 * What requests may say. The routes check with these schemas, and /openapi.json is made of them,
 * so that it says what is so.
 */
import { z } from 'zod'
import { UsageError } from '../../actors/errors.ts'
import { letterReasons } from '../../actors/ports-letters.ts'
import { taskLine } from '../../actors/task.ts'
import { isOutcome, type Outcome, outcomes } from '../../machines/outcome.ts'
import { systemStates } from '../../machines/system-rules.ts'
import { describeValue, fieldsOf, problemOf } from '../rejection.ts'

/** How a value is written where its schema reads it from a text: as JSON Schema. */
export const written = z.registry<Record<string, unknown>>()

/** As many characters as anybody reads in a log. */
const reasonMax = 1000
export const pageMax = 1000

const wholeText = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, {
      error: ({ input }) => `expected a whole number, got ${JSON.stringify(input)}`,
    })
    .transform(Number)
    .refine((number) => number >= min && number <= max, {
      error: ({ input }) => `expected ${min} to ${max}, got ${String(input)}`,
    })
    .register(written, { type: 'integer', minimum: min, maximum: max })

const flag = z
  .enum(['0', '1'], { error: ({ input }) => `expected 1 or 0, got ${JSON.stringify(input)}` })
  .optional()

const outcomeList = z
  .string()
  .transform((text, context): Outcome[] | undefined => {
    if (text === '') return undefined
    const words = text.split(',')
    const bad = words.find((word) => !isOutcome(word))
    if (bad === undefined) return words as Outcome[]
    const message = `expected one of ${outcomes.join(', ')}, got "${bad}"`
    context.addIssue({ code: 'custom', message })
    return z.NEVER
  })
  .register(written, {
    type: 'string',
    description: `some of ${outcomes.join(', ')}, with commas between`,
  })

/** Where the page before ended. */
const cursor = z.string().max(200)
const page = { after: cursor.optional(), limit: wholeText(1, pageMax).optional() }

export const submitQuery = z.strictObject({ dryRun: flag })
export const pageQuery = z.strictObject(page)
export const noQuery = z.strictObject({})

export const resultsQuery = z.strictObject({
  outcome: outcomeList.optional(),
  /** `exact`: equal results together. */
  fold: z.enum(['none', 'exact', 'similar']).optional(),
  after: wholeText(0, 999_999_999_999_999).optional(),
  /** Of a page at most pageMax; of a stream any number. */
  limit: wholeText(0, 999_999_999_999_999).optional(),
})

export const seqPath = wholeText(0, 999_999_999_999_999)

export const escalationsQuery = z.strictObject({ all: flag })

const letterFilter = z.strictObject({
  run: z.string().min(1).optional(),
  kind: z.string().min(1).optional(),
  mailbox: z.string().min(1).optional(),
  reason: z.enum(letterReasons).optional(),
})

export const lettersQuery = z.strictObject({
  ...letterFilter.shape,
  // Those of actors have a reason of their own.
  reason: z.enum([...letterReasons, 'stopped']).optional(),
  state: z.enum(['open', 'redriven']).optional(),
  id: z.string().min(1).optional(),
  after: z
    .string()
    .regex(/^\d{1,15}$/)
    .optional(),
  limit: wholeText(1, pageMax).optional(),
})

const reason = z
  .string()
  .refine((text) => text.trim() !== '' && text.length <= reasonMax, {
    error: ({ input }) =>
      `expected a text of 1 to ${reasonMax} characters, got ${String(input).length} characters`,
  })
  .transform((text) => text.trim())
  .register(written, { type: 'string', minLength: 1, maxLength: reasonMax })

/** Letters named in one request. */
const idsMax = 1000

export const redriveBody = z.strictObject({
  ids: z.array(z.string().min(1)).min(1).max(idsMax).optional(),
  filter: letterFilter.optional(),
  reason,
})

export const reasonBody = z.strictObject({ reason: reason.optional() })
export const neededReasonBody = z.strictObject({ reason })

export const retryBody = z.strictObject({
  reason: reason.optional(),
  outcomes: z.array(z.enum(outcomes)).min(1).optional(),
})

const actorMax = 100

export const systemBody = z.strictObject({
  state: z.enum(systemStates),
  reason: reason.optional(),
  actor: z
    .string()
    .refine((text) => text.trim() !== '' && text.length <= actorMax, {
      error: ({ input }) =>
        `expected a text of 1 to ${actorMax} characters, got ${describeValue(input)}`,
    })
    .transform((text) => text.trim())
    .register(written, { type: 'string', minLength: 1, maxLength: actorMax })
    .optional(),
})

const share = z.union([z.string(), z.number()])

/** Of its tasks each is checked by itself: a bad one does not stop the good ones. */
export const submitBody = z.strictObject({
  tasks: z.array(z.unknown().register(written, { $ref: '#/components/schemas/Task' })),
  reason: z.string().optional(),
  window: share.optional(),
  halt: share.optional(),
})

export const taskSchema = taskLine

/** @throws UsageError that says what was expected, what came, and what was meant maybe */
export function read<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const { path, message } = problemOf(parsed.error, value, fieldsOf(schema))
  throw new UsageError(path === '' ? message : `${path}: ${message}`)
}

/** The query of a request; a name that comes twice has its first value. */
export function readQuery<Schema extends z.ZodType>(
  schema: Schema,
  request: Request,
): z.output<Schema> {
  const values: Record<string, string> = {}
  for (const [name, value] of new URL(request.url).searchParams) values[name] ??= value
  return read(schema, values)
}

/**
 * The JSON object that a request brings; an empty one where there is no body.
 * @throws UsageError
 */
export async function readJson<Schema extends z.ZodType>(
  schema: Schema,
  request: Request,
): Promise<z.output<Schema>> {
  const text = await request.text()
  return read(schema, text.trim() === '' ? {} : objectOf(text))
}

function objectOf(text: string): object {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch (error) {
    const got = error instanceof Error ? error.message : 'something else'
    throw new UsageError(`expected a JSON object such as {"reason": "…"}, got ${got}`)
  }
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body
  const got = describeValue(body)
  throw new UsageError(`expected a JSON object such as {"reason": "…"}, got ${got}`)
}
