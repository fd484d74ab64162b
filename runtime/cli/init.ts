/** `muster init`: write a commented configuration file. */
import { writeFile } from 'node:fs/promises'
import { DataDirectoryError } from '../../actors/errors.ts'
import { initText } from '../../config/print.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { configFileOf, defaultConfigFile } from './settings.ts'

export async function init(invocation: Invocation): Promise<number> {
  const { globals, terminal } = invocation
  const file = configFileOf(globals) ?? defaultConfigFile
  try {
    // `wx`: of two at the same time one is refused, and nothing is ever overwritten.
    await writeFile(file, initText(), { flag: 'wx' })
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    const reason = error instanceof Error ? error.message : String(error)
    const message = isThere
      ? `${file} is there already and is left as it is; remove it, or name another with --config`
      : `cannot write ${file}: ${reason}`
    throw new DataDirectoryError(message, { cause: error })
  }
  if (terminal.json) await terminal.print(`${JSON.stringify({ file })}\n`)
  terminal.say(`wrote ${file}; see what is in force: muster start --print-config`)
  return exitCodes.ok
}
