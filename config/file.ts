/** What a configuration file says, as its parser read it. */
import { z } from 'zod'
import type { Given } from './entry.ts'
import { check, isTable, showValue, valueInFile } from './entry.ts'
import type { ConfigProblem } from './errors.ts'
import type { SectionName } from './known-key.ts'
import {
  formatPath,
  isSection,
  itemName,
  itemTable,
  keysOf,
  knownKeys,
  unknownKey,
  unknownSection,
} from './known-key.ts'
import { nearest } from './nearest.ts'

/** Every value of the file; those of unknown keys, and what is no table where one must be, not. */
export function readFileValues(values: unknown, source: string): Given {
  const given: Given = { entries: [], problems: [] }
  if (!isTable(values)) {
    given.problems.push({
      path: '(all)',
      expected: 'a table of sections',
      found: showValue(values),
      source,
    })
    return given
  }
  for (const [section, table] of Object.entries(values)) {
    if (!isSection(section)) given.problems.push(unknownSection(section, source))
    else if (!isTable(table)) given.problems.push(noTable(section, table, source))
    else readSection(given, section, table, source)
  }
  return given
}

function readSection(
  given: Given,
  section: SectionName,
  table: Record<string, unknown>,
  source: string,
): void {
  const items = itemTable(section)
  for (const [name, value] of Object.entries(table)) {
    if (items !== undefined) {
      const read = readItem(items, [section, name], value, source)
      if (read.problems.length > 0) given.problems.push(...read.problems)
      else given.entries.push({ path: [section, name], value: read.item, source })
      continue
    }
    const key = knownKeys.get(`${section}.${name}`)
    if (key === undefined) given.problems.push(unknownKey(section, name, source))
    else given.entries.push({ path: [section, name], value: valueInFile(value, key.facts), source })
  }
}

/** One host, one limit: a table under a name of the user's. */
function readItem(
  table: z.ZodObject,
  path: [section: SectionName, name: string],
  value: unknown,
  source: string,
): { item: Record<string, unknown>; problems: ConfigProblem[] } {
  const [section, name] = path
  const problems: ConfigProblem[] = []
  const item: Record<string, unknown> = {}
  const names = itemName(section)
  if (!names.safeParse(name).success) {
    const expected = names.description ?? 'another name'
    const found = JSON.stringify(name)
    problems.push({ path: formatPath(...path), expected, found, source })
    return { item, problems }
  }
  const keys = keysOf(table)
  if (!isTable(value)) {
    const expected = `a table, as in { ${[...keys.keys()].join(' = …, ')} = … }`
    problems.push({ path: formatPath(...path), expected, found: showValue(value), source })
    return { item, problems }
  }
  for (const [inner, innerValue] of Object.entries(value)) {
    const key = keys.get(inner)
    if (key === undefined) {
      const meant = nearest(inner, keys.keys())
      problems.push({
        path: formatPath(...path, inner),
        expected: `a key of [${section}.${formatPath(name)}]`,
        found: JSON.stringify(inner),
        ...(meant === undefined ? {} : { nearest: formatPath(...path, meant) }),
        source,
      })
      continue
    }
    const checked = check(key, [...path, inner], valueInFile(innerValue, key.facts), source)
    if ('problem' in checked) problems.push(checked.problem)
    else item[inner] = checked.value
  }
  for (const [inner, { facts, schema }] of keys) {
    if (Object.hasOwn(value, inner) || z.object({ inner: schema }).safeParse({}).success) continue
    const found = 'nothing'
    problems.push({ path: formatPath(...path, inner), expected: facts.expected, found, source })
  }
  return { item, problems }
}

function noTable(section: SectionName, value: unknown, source: string): ConfigProblem {
  return { path: section, expected: `a section, [${section}]`, found: showValue(value), source }
}
