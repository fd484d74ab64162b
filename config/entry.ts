/** One value given for one key, wherever it was given; and the check of it. */
import { parseDuration } from './duration.ts'
import type { ConfigProblem } from './errors.ts'
import type { KeyFacts } from './key.ts'
import type { KnownKey } from './known-key.ts'
import { formatPath } from './known-key.ts'
import { hidePassword } from './secret.ts'

export interface Entry {
  /** Section, then key: `['lease', 'ttlMs']`. */
  path: readonly [section: string, key: string]
  value: unknown
  source: string
}

/** What one source has given. */
export interface Given {
  entries: Entry[]
  problems: ConfigProblem[]
}

const numeral = /^[+-]?\d[\d_]*(\.\d+)?(e[+-]?\d+)?$/i

/** Text as the value its key takes; text that is no such value stays as it is, to be refused. */
export function valueOfText(text: string, { sort }: KeyFacts): unknown {
  const trimmed = text.trim()
  switch (sort) {
    case 'number':
      return numberOfText(trimmed) ?? text
    case 'duration':
      return numberOfText(trimmed) ?? parseDuration(trimmed) ?? text
    case 'list':
      return partsOf(trimmed)
    case 'pairs': {
      const pairs = partsOf(trimmed)
      if (!pairs.every((pair) => pair.includes('='))) return text
      return Object.fromEntries(pairs.map((pair) => splitAt(pair, pair.indexOf('='))))
    }
    default:
      return text
  }
}

/** In a file numbers are numbers already; only durations may be text. */
export function valueInFile(value: unknown, { sort }: KeyFacts): unknown {
  if (sort !== 'duration' || typeof value !== 'string') return value
  return parseDuration(value) ?? value
}

/** The value as the schema takes it, or what is wrong with it. */
export function check(
  { schema, facts }: Pick<KnownKey, 'schema' | 'facts'>,
  path: readonly string[],
  value: unknown,
  source: string,
): { value: unknown } | { problem: ConfigProblem } {
  const parsed = schema.safeParse(value)
  if (parsed.success) return { value: parsed.data }
  const problem = {
    path: formatPath(...path),
    expected: facts.expected,
    found: showValue(value),
    source,
  }
  return { problem }
}

const shownMax = 80

/** A value as it may be shown in a message: on one line, not too long, without passwords. */
export function showValue(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  const shown = JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'bigint') return String(inner)
    return typeof inner === 'string' ? hidePassword(inner) : inner
  })
  return shown.length <= shownMax ? shown : `${shown.slice(0, shownMax)}…`
}

export function isTable(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function numberOfText(text: string): number | undefined {
  return numeral.test(text) ? Number(text.replaceAll('_', '')) : undefined
}

function partsOf(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function splitAt(text: string, index: number): [string, string] {
  return [text.slice(0, index).trim(), text.slice(index + 1).trim()]
}
