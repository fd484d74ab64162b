/** The configuration in force: flags over environment over file over defaults. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { describeError, NotFoundError, UsageError } from '../../actors/errors.ts'
import type { Config } from '../../config/schema.ts'
import type { Globals, Invocation } from './invocation.ts'

/** Flags that stand for a key of the configuration, by that key's path. */
export type SettingFlags = Record<string, unknown>

export function dataDirOf(globals: Globals): string {
  return resolve(globals.data ?? variable('MUSTER_DATA') ?? '.muster')
}

/** `--workers N`: N tasks at a time, whatever they are. */
export function workerSettings(workers: number | undefined): SettingFlags {
  if (workers === undefined) return {}
  return { 'worker.concurrency': workers, 'worker.commandConcurrency': workers }
}

/** The configuration file: named by a flag, by the environment, or neither. */
export function configFileOf(globals: Globals): string | undefined {
  return globals.config ?? variable('MUSTER_CONFIG')
}

export const defaultConfigFile = 'muster.toml'

function variable(name: string): string | undefined {
  const text = process.env[name]
  return text === '' ? undefined : text
}

/**
 * Read `--config` (or ./muster.toml where it is) and put everything together; what is only doubtful
 * is said on stderr.
 * @throws UsageError with every problem at once
 */
export async function loadSettings(invocation: Invocation, flags: SettingFlags): Promise<Config> {
  const { globals, terminal } = invocation
  const named = configFileOf(globals)
  const fileName = named ?? defaultConfigFile
  const fileValues = await readToml(fileName, named !== undefined)
  const redis = globals.redis === undefined ? {} : { 'redis.url': globals.redis }
  // Loaded here: a verb that talks to a node elsewhere needs none of it.
  const { loadConfig } = await import('../../config/load.ts')
  const { config, warnings } = loadConfig({
    fileValues,
    fileName,
    env: process.env,
    flags: { ...redis, ...flags },
  })
  for (const warning of warnings) terminal.say(`muster: ${warning}`)
  return config
}

/** The same doubts about the environment, for a verb that needs no configuration. */
export async function sayDoubts({ terminal }: Invocation): Promise<void> {
  if (!Object.keys(process.env).some((name) => name.toUpperCase().startsWith('MUSTER_'))) return
  const { readEnvironment } = await import('../../config/environment.ts')
  for (const warning of readEnvironment(process.env).warnings) terminal.say(`muster: ${warning}`)
}

async function readToml(file: string, isRequired: boolean): Promise<unknown> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (isMissing && !isRequired) return {}
    const reason = isMissing ? 'no such file' : describeError(error).message
    throw new NotFoundError(
      `cannot read the config file ${file}: ${reason}; write one with \`muster init\``,
    )
  }
  try {
    return Bun.TOML.parse(text)
  } catch (error) {
    throw new UsageError(`${file}: not valid TOML: ${describeError(error).message}`)
  }
}
