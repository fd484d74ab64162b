/** Every key there is, by its path; and what was probably meant by one there is not. */
import { z } from 'zod'
import type { ConfigProblem } from './errors.ts'
import type { KeyFacts } from './key.ts'
import { keyFacts } from './key.ts'
import { nearest } from './nearest.ts'
import { sections } from './schema.ts'

export type SectionName = keyof typeof sections

export interface KnownKey {
  section: SectionName
  name: string
  schema: z.ZodType
  facts: KeyFacts
  /** Undefined where nothing is the default. */
  defaultValue: unknown
}

export const sectionNames = Object.keys(sections) as SectionName[]

/** Keys of one table, with what is told about each. */
export function keysOf(table: z.ZodObject): Map<string, Pick<KnownKey, 'schema' | 'facts'>> {
  const shape: Record<string, z.ZodType> = table.shape
  return new Map(
    Object.entries(shape).map(([name, schema]) => {
      const facts = keyFacts.get(schema)
      if (facts === undefined)
        throw new Error(`config/schema.ts: ${name}: expected a key of key.ts`)
      return [name, { schema, facts }]
    }),
  )
}

/** All keys by their path, `lease.ttlMs`, in the order of the schema. */
export const knownKeys: ReadonlyMap<string, KnownKey> = new Map(
  sectionNames.flatMap((section) => {
    const { schema } = sections[section]
    if (!(schema instanceof z.ZodObject)) return []
    const defaults: Record<string, unknown> = schema.parse({})
    return [...keysOf(schema)].map(([name, key]): [string, KnownKey] => [
      `${section}.${name}`,
      { ...key, section, name, defaultValue: defaults[name] },
    ])
  }),
)

export function isSection(name: string): name is SectionName {
  return Object.hasOwn(sections, name)
}

/** The table that each name of the section stands for, where the names are the user's own. */
export function itemTable(section: SectionName): z.ZodObject | undefined {
  const schema: z.ZodType = sections[section].schema
  if (!(schema instanceof z.ZodRecord)) return undefined
  return schema.valueType instanceof z.ZodObject ? schema.valueType : undefined
}

/** What a name of the user's own must be in that section. */
export function itemName(section: SectionName): z.ZodType {
  const schema: z.ZodType = sections[section].schema
  if (schema instanceof z.ZodRecord && schema.keyType instanceof z.ZodType) return schema.keyType
  throw new Error(`config/schema.ts: ${section}: expected names of the user's own`)
}

/** A path as TOML writes it. */
export function formatPath(...parts: string[]): string {
  return parts
    .map((part) => (/^[A-Za-z0-9_-]+$/.test(part) ? part : JSON.stringify(part)))
    .join('.')
}

export function unknownSection(name: string, source: string): ConfigProblem {
  const meant = nearest(name, sectionNames) ?? keyElsewhere(name)
  return {
    path: formatPath(name),
    expected: `a section, one of ${sectionNames.join(', ')}`,
    found: JSON.stringify(name),
    ...(meant === undefined ? {} : { nearest: meant }),
    source,
  }
}

export function unknownKey(section: SectionName, name: string, source: string): ConfigProblem {
  const siblings = [...knownKeys.values()].filter((key) => key.section === section)
  const near = nearest(
    name,
    siblings.map((key) => key.name),
  )
  const isElsewhere = [...knownKeys.values()].some((key) => key.name === name)
  const meant = near !== undefined && !isElsewhere ? `${section}.${near}` : keyElsewhere(name)
  return {
    path: formatPath(section, name),
    expected: `a key of [${section}]`,
    found: JSON.stringify(name),
    ...(meant === undefined ? {} : { nearest: meant }),
    source,
  }
}

/** The right key in the wrong place. */
function keyElsewhere(name: string): string | undefined {
  const meant = nearest(
    name,
    [...knownKeys.values()].map((key) => key.name),
  )
  return [...knownKeys].find(([, key]) => key.name === meant)?.[0]
}
