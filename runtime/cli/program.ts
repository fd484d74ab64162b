/** The verbs and flags of the command line. Each verb's file is loaded when it is called. */
import { Command } from 'commander'
import { addAuditVerb } from './audit-verb.ts'
import { addEscalationVerbs } from './escalation-verbs.ts'
import { addFleetVerbs } from './fleet-verbs.ts'
import type { Globals, Invocation } from './invocation.ts'
import { addLetterVerbs } from './letter-verbs.ts'
import { addNodeVerbs } from './node-verbs.ts'
import { addReadingVerbs, addRunVerbs } from './run-verbs.ts'
import { addStateVerbs } from './state-verbs.ts'
import { Terminal } from './terminal.ts'
import { addWorkVerbs } from './work-verbs.ts'

export interface ProgramOptions {
  version: string
  /** The words after `--`, taken off before the flags are parsed. */
  argv: readonly string[] | undefined
  /** Called with the exit code of the verb. */
  onExit: (code: number) => void
}

type Act = (invocation: Invocation) => Promise<number>

export function buildProgram({ version, argv, onExit }: ProgramOptions): Command {
  const program = new Command('muster')
    .description('Runs work that must not get lost.')
    .version(`muster ${version}`, '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .usage('[flags] VERB …')
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .addHelpText('after', examples)
  addGlobals(program)

  const perform = async (act: Act) => {
    const { json = false, quiet = false, debug = false, ...rest } = program.opts<Partial<Globals>>()
    const globals: Globals = { color: true, ...rest, json, quiet, debug }
    const terminal = new Terminal(globals)
    onExit(await act({ globals, terminal, ...(argv === undefined ? {} : { argv }) }))
  }
  addNodeVerbs(program, perform)
  addWorkVerbs(program, perform)
  addRunVerbs(program, perform)
  addReadingVerbs(program, perform)
  addFleetVerbs(program, perform)
  addStateVerbs(program, perform)
  addLetterVerbs(program, perform)
  addEscalationVerbs(program, perform)
  addAuditVerb(program, perform)
  return program
}

export type Perform = (act: Act) => Promise<void>

const examples = `
Examples:
  muster run tasks.ndjson                 run the tasks of a file and report
  muster run -- uname -r                  run one command
  muster start                            a node, until SIGTERM
  muster submit tasks.ndjson              hand tasks to it and return
  muster results RUN --outcome failed     what did not go well`

function addGlobals(program: Command): void {
  program
    .option('--config <FILE>', 'configuration file (default ./muster.toml if there)')
    .option('--data <DIR>', 'data directory (default ./.muster)')
    .option('--redis <URL>', 'Redis to use instead of the embedded one')
    .option('--url <URL>', 'the node to talk to')
    .option('--token-file <FILE>', 'file with the bearer token')
    .option('--json', 'data as JSON')
    .option('--quiet', 'no progress and no messages but errors')
    .option('--no-color', 'no colours')
    .option('--debug', 'show the stack of an error')
}
