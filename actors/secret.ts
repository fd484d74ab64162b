/**
 * Secrets in the input of tasks: marked in the schema of their kind, hidden wherever tasks are
 * shown. They reach the handler as they are, and wait for it in Redis as they are.
 */
import type { z } from 'zod'
import type { Execution, Executor, Log, LogLevel } from './ports.ts'

/** What is shown in place of a secret. */
export const hidden = '***'

/** On the schema itself: a task file may bring another copy of this library. */
const mark = Symbol.for('muster.secret')

/**
 * Marks a part of the input of a kind as secret: it is shown as `***` in results, dead letters,
 * the board and the log, also where the handler gives it back. What is built on the marked schema
 * is not marked, so put this outermost: `secret(z.string().min(8))`. A text of fewer than four
 * characters is hidden only where it stands alone.
 */
export function secret<Schema extends z.ZodType>(schema: Schema): Schema {
  Object.defineProperty(schema, mark, { value: true })
  return schema
}

function isMarked(schema: z.core.$ZodType): boolean {
  return Object.hasOwn(schema, mark)
}

/** Shorter ones stand in many texts by chance. */
const innerLengthMin = 4

type Visit = (value: unknown) => unknown

function definitionOf(schema: z.core.$ZodType) {
  return (schema as z.ZodType).def as z.core.$ZodTypes['_zod']['def']
}

/** The input with `visit` done to what is secret in it; the same where nothing is. */
function visitSecrets(schema: z.core.$ZodType, value: unknown, visit: Visit): unknown {
  if (value === undefined) return value
  if (isMarked(schema)) return visit(value)
  const def = definitionOf(schema)
  const into = (inner: z.core.$ZodType, part: unknown) => visitSecrets(inner, part, visit)
  switch (def.type) {
    case 'object':
      return mapObject(value, (part, name) => {
        const inner = Object.hasOwn(def.shape, name) ? def.shape[name] : def.catchall
        return inner === undefined ? part : into(inner, part)
      })
    case 'record':
      return mapObject(value, (part) => into(def.valueType, part))
    case 'array':
      return Array.isArray(value) ? value.map((part: unknown) => into(def.element, part)) : value
    case 'tuple':
      return Array.isArray(value)
        ? value.map((part: unknown, index) => {
            const inner = def.items[index] ?? def.rest
            return inner == null ? part : into(inner, part)
          })
        : value
    case 'union':
      return def.options.reduce((seen: unknown, option) => into(option, seen), value)
    case 'intersection':
      return into(def.right, into(def.left, value))
    case 'pipe':
      return into(def.in, value)
    case 'lazy':
      return into(def.getter(), value)
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
    case 'nonoptional':
    case 'readonly':
    case 'catch':
      return into(def.innerType, value)
    default:
      return value
  }
}

function mapObject(value: unknown, map: (part: unknown, name: string) => unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, map(part, name)]))
}

/**
 * The input of a task as it may be shown.
 * @param instead what stands in place of a secret
 */
export function hideSecrets(schema: z.ZodType, input: unknown, instead: unknown = hidden): unknown {
  return visitSecrets(schema, input, () => instead)
}

/** Whether the schema has a mark anywhere. */
function hasSecrets(schema: z.core.$ZodType, seen = new Set<z.core.$ZodType>()): boolean {
  if (seen.has(schema)) return false
  seen.add(schema)
  if (isMarked(schema)) return true
  return partsOf(schema).some((part) => hasSecrets(part, seen))
}

function partsOf(schema: z.core.$ZodType): z.core.$ZodType[] {
  const def = definitionOf(schema)
  switch (def.type) {
    case 'object':
      return [...Object.values(def.shape), ...(def.catchall === undefined ? [] : [def.catchall])]
    case 'record':
      return [def.valueType]
    case 'array':
      return [def.element]
    case 'tuple':
      return [...def.items, ...(def.rest == null ? [] : [def.rest])]
    case 'union':
      return [...def.options]
    case 'intersection':
      return [def.left, def.right]
    case 'pipe':
      return [def.in]
    case 'lazy':
      return [def.getter()]
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
    case 'nonoptional':
    case 'readonly':
    case 'catch':
      return [def.innerType]
    default:
      return []
  }
}

/**
 * An executor whose results and log lines show no secret of the tasks at hand; the executor itself
 * where the schema has none.
 * @param make makes it, with the log that it is to use
 */
export function veiled(schema: z.ZodType, log: Log, make: (log: Log) => Executor): Executor {
  if (!hasSecrets(schema)) return make(log)
  /** The secrets at hand, each as often as it is. */
  const atHand = new Map<string, number>()
  const executor = make(coveringLog(log, () => coverOf([...atHand.keys()])))
  const count = (texts: ReadonlySet<string>, by: number) => {
    for (const text of texts) {
      const left = (atHand.get(text) ?? 0) + by
      if (left > 0) atHand.set(text, left)
      else atHand.delete(text)
    }
  }
  return {
    start: (host) => executor.start(host),
    stop: () => executor.stop(),
    run(task, context) {
      const texts = textsOf(schema, task.input)
      count(texts, 1)
      const end = (execution: Execution): Execution => {
        count(texts, -1)
        return coverExecution(execution, coverOf([...texts]))
      }
      const execution = executor.run(task, context)
      return execution instanceof Promise ? execution.then(end) : end(execution)
    },
  }
}

function textsOf(schema: z.ZodType, input: unknown): ReadonlySet<string> {
  const texts = new Set<string>()
  const collect = (value: unknown): void => {
    if (typeof value === 'object' && value !== null) Object.values(value).forEach(collect)
    else if (typeof value === 'string' || typeof value === 'number') texts.add(String(value))
  }
  visitSecrets(schema, input, (value) => {
    collect(value)
    return value
  })
  texts.delete('')
  return texts
}

type Cover = (text: string) => string

function coverOf(texts: readonly string[]): Cover {
  // The longest first: one may be a part of another.
  const inner = texts
    .filter((text) => text.length >= innerLengthMin)
    .toSorted((a, b) => b.length - a.length)
  return (text) =>
    texts.includes(text)
      ? hidden
      : inner.reduce((seen, each) => seen.replaceAll(each, hidden), text)
}

function coverDeep(value: unknown, cover: Cover): unknown {
  if (typeof value === 'string') return cover(value)
  if (typeof value === 'number') {
    const text = String(value)
    return cover(text) === text ? value : hidden
  }
  if (Array.isArray(value)) return value.map((part: unknown) => coverDeep(part, cover))
  if (value instanceof Error) return coverError(value, cover)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, part]) => [cover(name), coverDeep(part, cover)]),
  )
}

function coverError(error: Error, cover: Cover): Error {
  const covered = new Error(cover(error.message))
  covered.name = error.name
  if (error.stack !== undefined) covered.stack = cover(error.stack)
  return covered
}

function coverExecution(execution: Execution, cover: Cover): Execution {
  const { output, error } = execution
  const covered = { ...execution }
  // What travels is what its JSON says.
  if (output !== undefined) covered.output = coverDeep(JSON.parse(JSON.stringify(output)), cover)
  if (error !== undefined) covered.error = { ...error, message: cover(error.message) }
  return covered
}

function coveringLog(log: Log, coverNow: () => Cover): Log {
  const at =
    (level: LogLevel) =>
    (fields: Record<string, unknown>, message: string): void => {
      const cover = coverNow()
      log[level](coverDeep(fields, cover) as Record<string, unknown>, cover(message))
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
