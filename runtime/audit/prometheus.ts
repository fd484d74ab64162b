/** The telemetry of a runtime, as a Prometheus (or what speaks like one) has it. */
import { z } from 'zod'
import { describeError, UnavailableError, UsageError } from '../../actors/errors.ts'
import type { Measured, Vital } from '../../machines/health.ts'
import type { MetricsFile } from './metrics-file.ts'
import { type Missing, queryKeys, vitalOfQuery } from './report.ts'

export interface PrometheusOptions {
  url: string
  queries: MetricsFile['queries']
  /** How long it may take to say that it is there, and to answer a query. */
  healthyMs?: number
  queryMs?: number
}

export interface Telemetry {
  measured: Measured
  missing: Missing[]
}

/** More than this is no answer to a query for one number. */
const answerBytesMax = 1 << 20

/** Asks for everything at once. @throws UnavailableError when nobody healthy is there */
export async function readPrometheus(options: PrometheusOptions): Promise<Telemetry> {
  const { url, queries, healthyMs = 5000, queryMs = 10_000 } = options
  const place = placeOf(url)
  await expectHealthy(place, healthyMs)
  const readings = await Promise.all(
    queryKeys.map(async (key) => [key, await read(place, queries[key], queryMs)] as const),
  )
  const measured: { [Name in Vital]?: number } = {}
  const missing: Missing[] = []
  for (const [query, reading] of readings) {
    if (typeof reading === 'number') measured[vitalOfQuery[query]] = reading
    else missing.push({ query, ...reading })
  }
  return { measured, missing }
}

interface Place {
  /** Without a slash at the end, and without what is secret. */
  url: string
  headers: Record<string, string>
}

/** A user and a password in the URL go into a header: not every `fetch` takes them there. */
export function placeOf(text: string): Place {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new UsageError(
      `target: expected an http or https URL such as http://localhost:9090, got '${text}'`,
    )
  }
  const url = new URL(text)
  const { username, password } = url
  url.username = ''
  url.password = ''
  const place = url.href.replace(/\/+$/, '')
  if (username === '' && password === '') return { url: place, headers: {} }
  const secret = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const authorization = `Basic ${Buffer.from(secret).toString('base64')}`
  return { url: place, headers: { authorization } }
}

async function expectHealthy({ url, headers }: Place, withinMs: number): Promise<void> {
  const endpoint = `${url}/-/healthy`
  try {
    await ask(endpoint, headers, withinMs)
  } catch (error) {
    const message =
      `Telemetry backend unreachable at ${endpoint}\nError: ${describeError(error).message}\n` +
      'Cannot audit runtime state without observability data.'
    throw new UnavailableError(message, { cause: error, code: 'TELEMETRY_UNREACHABLE' })
  }
}

type Unread = Omit<Missing, 'query'>

async function read(
  { url, headers }: Place,
  query: string | undefined,
  withinMs: number,
): Promise<number | Unread> {
  if (query === undefined || query === '') return { reason: 'key absent' }
  try {
    const endpoint = `${url}/api/v1/query?query=${encodeURIComponent(query)}`
    return valueIn(await ask(endpoint, headers, withinMs))
  } catch (error) {
    return { reason: 'query failed', detail: describeError(error).message }
  }
}

/** The text of an answer. @throws Error when it is none: late, endless, or no success */
async function ask(
  url: string,
  headers: Record<string, string>,
  withinMs: number,
): Promise<string> {
  const late = AbortSignal.timeout(withinMs)
  try {
    const response = await fetch(url, { headers, signal: late })
    const text = await textOf(response)
    if (response.ok) return text
    throw new Error(`HTTP ${response.status}${complaintIn(text)}`)
  } catch (error) {
    if (late.aborted) throw new Error(`no answer within ${withinMs / 1000} s`, { cause: error })
    throw error
  }
}

async function textOf({ body }: Response): Promise<string> {
  if (body === null) return ''
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > answerBytesMax) throw new Error(`an answer of more than ${answerBytesMax} bytes`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}

/** What a Prometheus says of a query that it refuses. */
function complaintIn(text: string): string {
  const said = /"error":\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1]
  return said === undefined ? '' : `: ${said}`
}

const answerSchema = z.object({
  data: z.object({ result: z.array(z.unknown()) }),
})
const seriesSchema = z.object({
  value: z.tuple([z.unknown(), z.union([z.string(), z.number()])]),
})

/** The first value of an instant vector. @throws Error when the answer is of another kind */
function valueIn(text: string): number | Unread {
  const { data } = parsed(answerSchema, parsedJson(text), 'data.result')
  const [first] = data.result
  if (first === undefined) return { reason: 'empty' }
  const [, value] = parsed(seriesSchema, first, 'data.result[0].value[1]').value
  const number = numberOf(String(value))
  if (number === undefined) throw new Error(`expected a number, got ${brief(String(value))}`)
  return Number.isFinite(number) ? number : { reason: 'not a number', detail: String(value) }
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`expected JSON, got ${brief(text)}`)
  }
}

function parsed<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  path: string,
): z.infer<Schema> {
  const { success, data } = schema.safeParse(value)
  if (success) return data
  throw new Error(`expected ${path} of an instant vector, got ${brief(JSON.stringify(value))}`)
}

/** As Prometheus writes numbers; undefined for anything else, which `Number` might take. */
function numberOf(text: string): number | undefined {
  if (/^[+-]?Inf(inity)?$/i.test(text)) return Number.POSITIVE_INFINITY
  if (/^NaN$/i.test(text)) return Number.NaN
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined
}

function brief(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim()
  if (line === '') return 'nothing'
  return line.length <= 80 ? line : `${line.slice(0, 80)}…`
}
