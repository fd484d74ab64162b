/** A configuration as text: the file `init` writes, and what is in force. */
import { isTable } from './entry.ts'
import type { KnownKey, SectionName } from './known-key.ts'
import { knownKeys, sectionNames } from './known-key.ts'
import type { Config } from './schema.ts'
import { sections } from './schema.ts'
import { hidePassword } from './secret.ts'

const preface = [
  '# The configuration of Muster. Everything is optional: each key is shown with its default,',
  '# commented out. What says "example" is not set unless you set it.',
  '#',
  '# A flag goes before the environment (MUSTER_<SECTION>_<KEY>), that before this file, and this',
  '# file before the default. Keys that end in Ms are milliseconds, or "500ms", "10s", "2m", "1h".',
]

/** A muster.toml with every key in it, and nothing set. */
export function initText(): string {
  const lines = [...preface]
  for (const section of sectionNames) {
    lines.push('', `# ${sections[section].description}`, `[${section}]`)
    for (const [name, value] of Object.entries(exampleOf(section))) {
      lines.push(`# ${tomlKey(name)} = ${tomlValue(value)}  # example`)
    }
    for (const key of knownKeys.values()) if (key.section === section) lines.push(...keyLines(key))
  }
  return `${lines.join('\n')}\n`
}

function exampleOf(section: SectionName): Record<string, unknown> {
  const about = sections[section]
  return 'example' in about ? about.example : {}
}

function keyLines({ name, facts, defaultValue }: KnownKey): string[] {
  const value = defaultValue ?? facts.example
  const beside =
    defaultValue === undefined
      ? '  # example'
      : facts.cautious === undefined
        ? ''
        : `  # cautious: ${facts.cautious}`
  return [`# ${facts.description}`, `# ${name} = ${tomlValue(value)}${beside}`]
}

/** Everything that is in force, passwords hidden: as TOML that can be read again, or as JSON. */
export function printConfig(config: Config, format: 'toml' | 'json' = 'toml'): string {
  const shown = hideSecrets(config)
  if (format === 'json') return `${JSON.stringify(shown, undefined, 2)}\n`
  const tables = Object.entries(shown).map(([section, table]) => {
    const keys = Object.entries(table).map(
      ([name, value]) => `${tomlKey(name)} = ${tomlValue(value)}`,
    )
    return [`[${section}]`, ...keys].join('\n')
  })
  return `${tables.join('\n\n')}\n`
}

function hideSecrets(config: Config): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(config).map(([section, table]) => [
      section,
      Object.fromEntries(
        Object.entries(table).map(([name, value]: [string, unknown]) => {
          const isSecret = knownKeys.get(`${section}.${name}`)?.facts.secret === true
          return [name, isSecret && typeof value === 'string' ? hidePassword(value) : value]
        }),
      ),
    ]),
  )
}

function tomlKey(name: string): string {
  return /^[A-Za-z0-9_-]+$/.test(name) ? name : tomlString(name)
}

function tomlValue(value: unknown): string {
  if (typeof value === 'string') return tomlString(value)
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`
  if (!isTable(value)) return String(value)
  const pairs = Object.entries(value).map(([name, one]) => `${tomlKey(name)} = ${tomlValue(one)}`)
  return pairs.length === 0 ? '{}' : `{ ${pairs.join(', ')} }`
}

/** JSON's escapes are TOML's too; only DEL must not stand in TOML as it is. */
function tomlString(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f')
}
