/** The command line: parse, perform one verb, exit with its code. */
import { type Command, CommanderError } from 'commander'
import { UsageError } from '../../actors/errors.ts'
import { nearest } from '../../config/nearest.ts'
import { forgetHeapSettings } from '../heap-settings.ts'
import { version } from '../version.ts'
import { exitCodeOfError, exitCodes } from './exit.ts'
import { buildProgram } from './program.ts'

forgetHeapSettings()
const raw = process.argv.slice(2)
process.exit(await main(raw))

async function main(words: readonly string[]): Promise<number> {
  const dashes = words.indexOf('--')
  const before = dashes < 0 ? words : words.slice(0, dashes)
  const argv = dashes < 0 ? undefined : words.slice(dashes + 1)
  let code: number = exitCodes.ok
  const program = buildProgram({
    version: version(),
    argv,
    onExit: (verbCode) => {
      code = verbCode
    },
  })
  try {
    if (argv !== undefined && verbOf(program, before) !== 'run') {
      throw new UsageError('only `run` takes a command after --: muster run -- uname -r')
    }
    await program.parseAsync(before, { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return parsed(error, program, before)
    complain(error, before.includes('--debug'))
    if (error instanceof UsageError) hint(program, before)
    return error instanceof UsageError ? usageCode(program, before) : exitCodeOfError(error)
  }
}

/** Help and version come as "errors" too; everything else is a command line nobody can follow. */
function parsed(error: CommanderError, program: Command, words: readonly string[]): number {
  if (error.exitCode === 0) return exitCodes.ok
  if (error.code === 'commander.help') return usageCode(program, words)
  const told = unknownSubverb(error, program, words) ?? error.message
  const message = told.replace(/^error: /, '').replaceAll('\n', ' ')
  process.stderr.write(`muster: ${message}\n`)
  hint(program, words)
  return usageCode(program, words)
}

/** A verb that does something by itself as well takes a wrong word for one argument too many. */
function unknownSubverb(
  error: CommanderError,
  program: Command,
  words: readonly string[],
): string | undefined {
  if (error.code !== 'commander.excessArguments') return undefined
  const verb = program.commands.find((command) => command.name() === verbOf(program, words))
  const names = verb?.commands.map((command) => command.name()) ?? []
  const word = verb?.args[0]
  if (names.length === 0 || word === undefined || names.includes(word)) return undefined
  const meant = nearest(word, names)
  const near =
    meant === undefined ? `; it is one of ${names.join(', ')}` : ` (Did you mean ${meant}?)`
  return `unknown command '${word}'${near}`
}

/** Of `audit`, the code that its like has for it. */
function usageCode(program: Command, words: readonly string[]): number {
  return verbOf(program, words) === 'audit' ? exitCodes.auditUsage : exitCodes.usage
}

function complain(error: unknown, debug: boolean): void {
  const message = error instanceof Error ? error.message || error.name : String(error)
  process.stderr.write(`muster: ${message}\n`)
  if (debug) process.stderr.write(`${Bun.inspect(error)}\n`)
}

function hint(program: Command, words: readonly string[]): void {
  const verb = verbOf(program, words)
  process.stderr.write(`see: muster ${verb === undefined ? '' : `${verb} `}--help\n`)
}

function verbOf(program: Command, words: readonly string[]): string | undefined {
  const names = new Set(program.commands.map((command) => command.name()))
  return words.find((word) => names.has(word))
}
