/**
 * What environment variables say: MUSTER_<SECTION>_<KEY>, in any case, and with underscores in the
 * key wherever one likes them. An unknown one is doubtful and no more, for it may be meant for
 * another version or for a program of the user's own.
 */
import type { Entry, Given } from './entry.ts'
import { showValue, valueOfText } from './entry.ts'
import type { KnownKey } from './known-key.ts'
import { isSection, itemTable, knownKeys } from './known-key.ts'
import { nearest } from './nearest.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const prefix = 'MUSTER_'

/** Variables with a meaning of their own, and the key that some of them stand for. */
const ownVariables: ReadonlyMap<string, string | undefined> = new Map([
  ['MUSTER_URL', undefined],
  ['MUSTER_DATA', undefined],
  ['MUSTER_CONFIG', undefined],
  ['MUSTER_NO_INSTALL', undefined],
  ['MUSTER_TOKEN_FILE', 'http.tokenFile'],
  // A command run by a task finds these two, and may well call muster.
  ['MUSTER_RUN', undefined],
  ['MUSTER_SEQ', undefined],
])

const variables: ReadonlyMap<string, KnownKey> = new Map(
  [...knownKeys.values()].map((key) => [plain(`${key.section}_${key.name}`), key]),
)

/** A variable that is empty counts as not set. */
export function readEnvironment(env: Environment): Given & { warnings: string[] } {
  const given = { entries: [] as Entry[], problems: [], warnings: [] as string[] }
  const found = new Map<string, { text: string; entry: Entry; isOwn: boolean }[]>()
  for (const [variable, text] of Object.entries(env)) {
    const name = variable.toUpperCase()
    if (text === undefined || text === '' || !name.startsWith(prefix)) continue
    const isOwn = ownVariables.has(name)
    const path = ownVariables.get(name)
    const key = isOwn ? knownKeys.get(path ?? '') : variableKey(name)
    if (key === undefined) {
      if (!isOwn) given.warnings.push(warning(variable))
      continue
    }
    const entry: Entry = {
      path: [key.section, key.name],
      value: valueOfText(text, key.facts),
      source: `environment variable ${variable}`,
    }
    const same = found.get(entry.path.join('.')) ?? []
    found.set(entry.path.join('.'), [...same, { text, entry, isOwn }])
  }
  return { ...given, ...settle(found) }
}

/** One value a key: the variable of the very key goes first, and two of those must agree. */
function settle(found: Map<string, { text: string; entry: Entry; isOwn: boolean }[]>): Given {
  const given: Given = { entries: [], problems: [] }
  for (const [path, values] of found) {
    const first = values.find((one) => !one.isOwn) ?? values[0]
    if (first === undefined) continue
    const other = values.find((one) => one.text !== first.text && one.isOwn === first.isOwn)
    if (other !== undefined) {
      given.problems.push({
        path,
        expected: 'one value',
        found: `${showValue(first.text)} and ${showValue(other.text)}`,
        source: `${first.entry.source}, ${other.entry.source}`,
      })
    }
    given.entries.push(first.entry)
  }
  return given
}

function variableKey(name: string): KnownKey | undefined {
  const [, section, key] = /^MUSTER_([^_]+)_(.+)$/.exec(name) ?? []
  if (section === undefined || key === undefined) return undefined
  return variables.get(plain(`${section}_${key}`))
}

/** The section up to its underscore, then the key without any. */
function plain(variable: string): string {
  const [section = '', ...key] = variable.toLowerCase().split('_')
  return `${section}.${key.join('')}`
}

/** The variable of a key as people write it: MUSTER_LEASE_TTL_MS. */
function variableOf({ section, name }: Pick<KnownKey, 'section' | 'name'>): string {
  return `MUSTER_${section}_${name.replace(/[A-Z]/g, '_$&')}`.toUpperCase()
}

function warning(variable: string): string {
  const section = variable.split('_')[1]?.toLowerCase() ?? ''
  if (isSection(section) && itemTable(section) !== undefined) {
    return `${variable} is ignored: [${section}] has names of yours and is set in the file only`
  }
  const known = [...[...knownKeys.values()].map(variableOf), ...ownVariables.keys()]
  // The prefix is right in all of them and would excuse mistakes in the rest.
  const meant = nearest(
    variable.slice(prefix.length),
    known.map((one) => one.slice(prefix.length)),
  )
  const hint = meant === undefined ? '' : `; did you mean ${prefix}${meant}?`
  return `${variable} is ignored: no such variable is known${hint}`
}
