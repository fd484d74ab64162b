/** Why a task line is not taken, for people: `expected …, got …`, at a path. */
import type { z } from 'zod'
import type { Rejection } from '../actors/task.ts'
import { nearest } from '../config/nearest.ts'

/** The first problem zod found with `value`, as `expected …, got …`. */
export function problemOf(
  error: z.ZodError,
  value: unknown,
  fields: readonly string[],
  prefix?: string,
): Omit<Rejection, 'line'> {
  const issue = error.issues[0]
  if (issue === undefined) return { path: prefix ?? '', message: error.message }
  const place = [...(prefix === undefined ? [] : [prefix]), ...issue.path.map(String)]
  const got = issue.path.reduce<unknown>(
    (inner, step) =>
      typeof inner === 'object' && inner !== null
        ? (inner as Record<PropertyKey, unknown>)[step]
        : undefined,
    value,
  )
  if (issue.code === 'unrecognized_keys') {
    const field = issue.keys[0] ?? ''
    const near = nearest(field, fields)
    const hint = near === undefined ? '' : `; did you mean "${near}"?`
    const message = `expected only known fields, got "${field}"${hint}`
    return { path: [...place, field].join('.'), message }
  }
  const wanted = expectation(issue)
  const what = issue.code === 'invalid_key' ? place.at(-1) : got
  const message = wanted.includes(', got ') ? wanted : `${wanted}, got ${describeValue(what)}`
  return { path: place.join('.'), message: `expected ${message}` }
}

/** The names an object of this schema may have; for suggestions. */
export function fieldsOf(schema: z.ZodType): string[] {
  return 'shape' in schema && typeof schema.shape === 'object' && schema.shape !== null
    ? Object.keys(schema.shape)
    : []
}

/** The words for a bound that is itself refused, or allowed. */
function bound(issue: { inclusive?: boolean | undefined }, beyond: string, to: string): string {
  return issue.inclusive === false ? beyond : to
}

function expectation(issue: z.core.$ZodIssue): string {
  // A kind's own schema may say it better.
  if (issue.message.startsWith('expected ')) return issue.message.slice('expected '.length)
  switch (issue.code) {
    case 'invalid_type':
      return a(typeWords[issue.expected] ?? issue.expected)
    case 'invalid_value':
      return issue.values.map((value) => JSON.stringify(value)).join(' or ')
    case 'too_small':
      return `${bound(issue, 'more than', 'at least')} ${amount(issue.minimum, issue.origin)}`
    case 'too_big':
      return `${bound(issue, 'less than', 'at most')} ${amount(issue.maximum, issue.origin)}`
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues[0] === undefined ? 'another name' : expectation(issue.issues[0])
    case 'invalid_union': {
      const ways = issue.errors.map((issues) => issues[0])
      const first = ways.filter((way) => way !== undefined && way.path.length === 0)
      if (first.length === 0 || first.length < ways.length)
        return `a fitting value (${issue.message})`
      return [...new Set(first.map((way) => (way === undefined ? '' : expectation(way))))].join(
        ' or ',
      )
    }
    default:
      return `a fitting value (${issue.message})`
  }
}

const typeWords: Record<string, string | undefined> = { int: 'whole number', record: 'object' }

function amount(number: number | bigint, origin: string): string {
  const unit = origin === 'string' ? ' character' : origin === 'array' ? ' element' : ''
  return `${number}${unit === '' || Number(number) === 1 ? unit : `${unit}s`}`
}

function a(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`
}

/** Stands for what must not be shown. */
export const hiddenValue = Symbol('hidden')

/** What came, short enough to be shown. */
export function describeValue(value: unknown): string {
  if (value === hiddenValue) return 'another, which is secret'
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'number') return `the number ${value}`
  const text = JSON.stringify(value) ?? typeof value
  return `the ${typeof value} ${text.length > 80 ? `${text.slice(0, 77)}…` : text}`
}
