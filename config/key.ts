/**
 * The sorts of keys a configuration is made of. Each couples the check with what people are told
 * about the key: its comment, what is expected of it, and an example if it is not set by default.
 */
import { z } from 'zod'
import { formatDuration } from './duration.ts'

export interface KeyFacts {
  /** One sentence, printed as the key's comment. */
  description: string
  /** What a value must be, to follow the word "expected". */
  expected: string
  /** How text (from the environment or a flag) becomes a value. */
  sort: 'number' | 'duration' | 'text' | 'list' | 'pairs'
  /** Shown by `init` in place of a default. */
  example?: unknown
  /** A value for the careful, shown by `init` beside the default. */
  cautious?: number
  /** May carry a password. */
  secret?: boolean
}

export const keyFacts = z.registry<KeyFacts>()

/** Names of hosts, nodes and kinds: they stand in keys, paths and logs. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const nameExpected = "a name of letters, digits, '.', '_' and '-'"
/** What limits the tasks of a source begins with this; the rest is their label `source`. */
export const sourcePrefix = 'source:'
const limitPattern = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|source:[^\p{Cc}\p{Cs}]{1,200})$/u

/** Names of the user's own in a section; the description follows the word "expected". */
export const itemNames = {
  host: z.string().max(253).regex(namePattern).describe(nameExpected),
  limit: z
    .string()
    .regex(limitPattern)
    .describe(`the name of a kind, or "${sourcePrefix}" and the label source of tasks`),
}
/** Whatever else is written, it has to survive a line of text. */
const plainText = /^[^\p{Cc}\p{Cs}]*$/u

interface Range {
  min: number
  max: number
}

export function whole(
  value: number,
  { min, max, zeroToo = false }: Range & { zeroToo?: boolean },
  description: string,
  more: Pick<KeyFacts, 'cautious'> = {},
) {
  return z
    .int()
    .min(zeroToo ? 0 : min)
    .max(max)
    .refine((given) => given >= min || given === 0)
    .default(value)
    .register(keyFacts, {
      description,
      expected: `a whole number from ${min} to ${max}${zeroToo ? ', or 0' : ''}`,
      sort: 'number',
      ...more,
    })
}

export function duration(valueMs: number, { min, max }: Range, description: string) {
  const range = `from ${formatDuration(min)} to ${formatDuration(max)}`
  return z
    .int()
    .min(min)
    .max(max)
    .default(valueMs)
    .register(keyFacts, {
      description,
      expected: `a duration ${range} ("500ms", "10s", "2m", "1h" or whole milliseconds)`,
      sort: 'duration',
    })
}

export function fraction(value: number, { min, max }: Range, description: string) {
  return z
    .number()
    .min(min)
    .max(max)
    .default(value)
    .register(keyFacts, {
      description,
      expected: `a number from ${min} to ${max}`,
      sort: 'number',
    })
}

/** A number without a default, with a fraction or not. */
export function number({ min, max }: Range, description: string) {
  return z
    .number()
    .min(min)
    .max(max)
    .register(keyFacts, {
      description,
      expected: `a number from ${min} to ${max}`,
      sort: 'number',
    })
}

export function choice<const Choices extends readonly [string, ...string[]]>(
  choices: Choices,
  value: Choices[number],
  description: string,
) {
  const expected = `one of ${choices.map((one) => `"${one}"`).join(', ')}`
  return z.enum(choices).default(value).register(keyFacts, { description, expected, sort: 'text' })
}

/** Some of the choices, each at most once; all of them by default. */
export function someOf<const Choices extends readonly [string, ...string[]]>(
  choices: Choices,
  description: string,
) {
  const names = choices.map((one) => `"${one}"`).join(', ')
  return z
    .array(z.enum(choices))
    .min(1)
    .refine((given) => new Set(given).size === given.length)
    .default([...choices])
    .register(keyFacts, {
      description,
      expected: `a list of one or more of ${names}, each once`,
      sort: 'list',
    })
}

export function text(value: string, pattern: RegExp, expected: string, description: string) {
  return z
    .string()
    .regex(pattern)
    .default(value)
    .register(keyFacts, { description, expected, sort: 'text' })
}

/** A text that is not set by default. */
export function optionalText(
  pattern: RegExp,
  expected: string,
  description: string,
  more: Pick<KeyFacts, 'example' | 'secret'>,
) {
  return z
    .string()
    .regex(pattern)
    .exactOptional()
    .register(keyFacts, { description, expected, sort: 'text', ...more })
}

export function labels(description: string) {
  return z
    .record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/), z.string().regex(plainText))
    .default({})
    .register(keyFacts, {
      description,
      expected: 'labels, as in { rack = "r1", zone = "b" } (rack=r1,zone=b outside the file)',
      sort: 'pairs',
    })
}
