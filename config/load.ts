/**
 * One configuration out of all who have a say: flags over environment over file over defaults. Each
 * source is checked whole, also where another one overrules it, for a mistake is a mistake; and all
 * mistakes are reported at once.
 */
import { rules, shrinking } from './contradiction.ts'
import type { Entry, Given } from './entry.ts'
import { check, showValue, valueOfText } from './entry.ts'
import type { Environment } from './environment.ts'
import { readEnvironment } from './environment.ts'
import { ConfigError } from './errors.ts'
import { readFileValues } from './file.ts'
import { isSection, knownKeys, unknownKey, unknownSection } from './known-key.ts'
import type { Config } from './schema.ts'
import { configSchema } from './schema.ts'

export interface ConfigSources {
  /** The file's content, parsed; undefined where there is no file. */
  fileValues?: unknown
  /** How the file is called in messages; `muster.toml` if not said. */
  fileName?: string
  env?: Environment
  /** Values by the path of their key, as `{ 'http.port': 0 }`. Text is taken as in a variable. */
  flags?: Readonly<Record<string, unknown>>
}

export interface LoadedConfig {
  config: Config
  /** What is doubtful but no reason to stop, one sentence each. */
  warnings: string[]
}

const flagNames: ReadonlyMap<string, string> = new Map([
  ['redis.url', '--redis'],
  ['http.host', '--host'],
  ['http.port', '--port'],
  ['http.tokenFile', '--token-file'],
  ['node.id', '--node-id'],
  ['node.roles', '--role'],
  ['node.labels', '--label'],
  ['worker.concurrency', '--workers'],
])

/**
 * @throws ConfigError with every problem: unknown keys, values that do not fit, values that
 * contradict each other
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const { fileValues = {}, fileName = 'muster.toml', env = {}, flags = {} } = sources
  const environment = readEnvironment(env)
  const given = [readFileValues(fileValues, fileName), environment, readFlags(flags)]
  const problems = given.flatMap((one) => one.problems)
  const inForce = new Map<string, Entry>()
  const broken = new Set(problems.map((problem) => problem.path))
  for (const entry of given.flatMap((one) => one.entries)) {
    const path = entry.path.join('.')
    const checked = checkEntry(entry)
    if ('problem' in checked) {
      problems.push(checked.problem)
      broken.add(path)
    } else {
      inForce.set(path, { ...entry, value: checked.value })
    }
  }
  const config = configSchema.parse(treeOf(inForce.values())) as Config
  fit(config, inForce)
  // What a broken value would have been is not known, so nothing can be measured by it.
  const known = rules.filter((rule) => ![rule.path, ...rule.against].some((one) => broken.has(one)))
  problems.push(
    ...known
      .filter((rule) => !rule.holds(config))
      .map((rule) => ({
        path: rule.path,
        expected: rule.expected(config),
        found: showValue(valueAt(config, rule.path)),
        source: sourceOf(rule.path, rule.against, inForce),
      })),
  )
  if (problems.length > 0) throw new ConfigError(problems)
  return { config: freeze(config), warnings: environment.warnings }
}

function readFlags(flags: Readonly<Record<string, unknown>>): Given {
  const given: Given = { entries: [], problems: [] }
  for (const [path, value] of Object.entries(flags)) {
    if (value === undefined) continue
    const source = `flag ${flagNames.get(path) ?? `for ${path}`}`
    const key = knownKeys.get(path)
    if (key === undefined) {
      const [section = '', ...name] = path.split('.')
      const isKnown = isSection(section)
      given.problems.push(
        isKnown ? unknownKey(section, name.join('.'), source) : unknownSection(section, source),
      )
      continue
    }
    const taken = typeof value === 'string' ? valueOfText(value, key.facts) : value
    given.entries.push({ path: [key.section, key.name], value: taken, source })
  }
  return given
}

/** Names of the user's own were checked where they were read. */
function checkEntry({ path, value, source }: Entry): ReturnType<typeof check> {
  const key = knownKeys.get(path.join('.'))
  return key === undefined ? { value } : check(key, path, value, source)
}

function treeOf(entries: Iterable<Entry>): Record<string, Record<string, unknown>> {
  const tree: Record<string, Record<string, unknown>> = {}
  for (const { path, value } of entries) {
    const [section, name] = path
    tree[section] = { ...tree[section], [name]: value }
  }
  return tree
}

/** Sets in the configuration what follows from what was given. */
function fit(config: Config, inForce: ReadonlyMap<string, Entry>): void {
  for (const [path, size] of shrinking) {
    if (inForce.has(path)) continue
    const [section = '', name = ''] = path.split('.')
    Object.assign(config[section as keyof Config], { [name]: size(config) })
  }
}

function valueAt(config: Config, path: string): unknown {
  const [section = '', name = ''] = path.split('.')
  const table: Record<string, unknown> = config[section as keyof Config]
  return table[name]
}

function sourceOf(
  path: string,
  against: readonly string[],
  inForce: ReadonlyMap<string, Entry>,
): string {
  const source = (one: string): string => inForce.get(one)?.source ?? 'default'
  const others = against.filter((one) => source(one) !== source(path))
  return [source(path), ...others.map((one) => `${one} from ${source(one)}`)].join('; ')
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freeze(inner)
    Object.freeze(value)
  }
  return value
}
