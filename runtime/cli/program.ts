/** The verbs and flags of the command line. Each verb's file is loaded when it is called. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { letterReasons } from '../../actors/ports-letters.ts'
import { parseDuration } from '../../config/duration.ts'
import { checkKey } from '../idempotency-key.ts'
import type { AuditFlags } from './audit.ts'
import type { BenchFlags } from './bench.ts'
import type { ControlFlags } from './control.ts'
import type { LetterListFlags, RedriveFlags } from './deadletters.ts'
import type { DrainFlags } from './drain.ts'
import { addEscalationVerbs } from './escalation-verbs.ts'
import type { RunFlags } from './intake.ts'
import type { Globals, Invocation } from './invocation.ts'
import type { ReleaseFlags } from './lease.ts'
import type { ResultsFlags } from './results.ts'
import type { RetryFlags } from './retry.ts'
import type { StartFlags } from './start.ts'
import { addStateVerbs } from './state-verbs.ts'
import { Terminal } from './terminal.ts'

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

function addNodeVerbs(program: Command, perform: Perform): void {
  program
    .command('start')
    .description('run a node until SIGTERM')
    .addOption(
      new Option('--role <ROLE…>', 'dispatcher, worker, collector (default: all)').argParser(
        collectRoles,
      ),
    )
    .option('--workers <N>', 'tasks running at a time', parseCount)
    .option('--processes <N>', 'worker processes, supervised, instead of this one', parseCount)
    .option('--host <ADDRESS>', 'address to listen on')
    .option('--port <PORT>', 'port to listen on, 0 for any', parsePort)
    .option('--node-id <ID>', 'name of this node')
    .option('--tasks <FILE>', 'module with kinds of tasks (repeatable)', collect)
    .option('--ephemeral', 'everything in memory, nothing durable')
    .option('--print-config', 'print the configuration in force and stop')
    .action((flags: StartFlags) =>
      perform(async (invocation) => (await import('./start.ts')).start(invocation, flags)),
    )
  program
    .command('init')
    .description('write a commented muster.toml')
    .action(() => perform(async (invocation) => (await import('./init.ts')).init(invocation)))
  program
    .command('bench')
    .description('the benchmarks, all or by name; only in a checkout')
    .argument('[NAME...]')
    .option('--quick', 'few and small rounds: to see that it works')
    .option('--stage <SIZE>', 'largest stage of pipeline: 10k, 100k, 1m or 10m')
    .action((names: string[], flags: BenchFlags) =>
      perform(async (invocation) => (await import('./bench.ts')).bench(invocation, names, flags)),
    )
  program
    .command('completion')
    .description('print a completion script')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .action((shell: 'bash' | 'zsh' | 'fish') =>
      perform(async (invocation) =>
        (await import('./completion.ts')).completion(invocation, shell, program),
      ),
    )
}

function addIntakeFlags(command: Command): Command {
  return command
    .option('--strict', 'run nothing if any line is bad')
    .option('--reason <TEXT>', 'why, for the record')
    .option('--idempotency-key <KEY>', 'once for 24 hours: again, it is the first run', parseKey)
    .option('--window <N|P%>', 'most of its tasks under way at a time')
    .option('--halt <soon|now,fail=X|X%>', 'end it when so many tasks are not ok')
}

function addWaitFlags(command: Command): Command {
  return command
    .option('--timeout <DURATION>', 'stop waiting after this long', duration)
    .option('--results <FILE>', 'write every result line to a file')
    .option('--tasks <FILE>', 'module with kinds of tasks (repeatable)', collect)
    .option('--workers <N>', 'tasks running at a time in this process', parseCount)
}

function addWorkVerbs(program: Command, perform: Perform): void {
  addWaitFlags(addIntakeFlags(program.command('run')))
    .description('run tasks (NDJSON) or one command, wait and report')
    .usage('[flags] FILE|-\n       muster run [flags] -- ARGV…')
    .argument('[FILE]', 'file of tasks, one JSON object a line; - is stdin')
    .option('--dry-run', 'check every line and run none')
    .option('--ephemeral', 'everything in memory, nothing durable')
    .action((file: string | undefined, flags: RunFlags) =>
      perform(async (invocation) => (await import('./run.ts')).run(invocation, file, flags)),
    )
  addWaitFlags(addIntakeFlags(program.command('submit')))
    .description('submit tasks to a running node, print the run id and return')
    .argument('<FILE>', 'file of tasks, one JSON object a line; - is stdin')
    .option('--wait', 'wait and report, as run does')
    .action((file: string, flags: RunFlags & { wait?: boolean }) =>
      perform(async (invocation) => (await import('./submit.ts')).submit(invocation, file, flags)),
    )
}

const controls = {
  pause: 'start no more tasks of a run, or of the whole system, until it is resumed',
  resume: 'go on with a run that is paused, or with the whole system',
  cancel: 'end a run: what runs is aborted, what waits is not run',
} as const

function addRunVerbs(program: Command, perform: Perform): void {
  for (const action of ['pause', 'resume', 'cancel'] as const) {
    program
      .command(action)
      .description(controls[action])
      .argument(action === 'cancel' ? '<RUN>' : '[RUN]')
      .option('--reason <TEXT>', 'why, for the record')
      .action((run: string | undefined, flags: ControlFlags) =>
        perform(async (invocation) =>
          (await import('./control.ts')).control(invocation, action, run, flags),
        ),
      )
  }
  program
    .command('retry')
    .description('a new run of those tasks of a run that ended so (default: all but ok)')
    .argument('<RUN>')
    .option('--failed', 'those that failed')
    .option('--timeout', 'those that ran out of time')
    .option('--dead', 'those that kept killing their worker')
    .option('--unreached', 'those that never ran')
    .option('--ok', 'those that were ok')
    .option('--wait', 'wait and report, as run does')
    .option('--reason <TEXT>', 'why, for the record')
    .option('--tasks <FILE>', 'module with kinds of tasks (repeatable)', collect)
    .option('--workers <N>', 'tasks running at a time in this process', parseCount)
    .action((run: string, flags: RetryFlags) =>
      perform(async (invocation) => (await import('./retry.ts')).retry(invocation, run, flags)),
    )
}

function addReadingVerbs(program: Command, perform: Perform): void {
  program
    .command('watch')
    .description('progress of a run until it ends')
    .argument('<RUN>')
    .option('--timeout <DURATION>', 'stop waiting after this long', duration)
    .action((run: string, flags: { timeout?: number }) =>
      perform(async (invocation) => (await import('./watch.ts')).watch(invocation, run, flags)),
    )
  program
    .command('ls')
    .description('list runs, newest first')
    .action(() => perform(async (invocation) => (await import('./ls.ts')).ls(invocation)))
  program
    .command('tree')
    .description('the actors of a node, each with its state')
    .action(() => perform(async (invocation) => (await import('./tree.ts')).tree(invocation)))
  program
    .command('show')
    .description('one run, or one task with its attempts')
    .argument('<RUN[/SEQ]>')
    .action((name: string) =>
      perform(async (invocation) => (await import('./show.ts')).show(invocation, name)),
    )
  program
    .command('results')
    .description('results of a run, folded or as NDJSON')
    .argument('<RUN>')
    .option('--outcome <OUTCOMES>', 'only these, with commas between: failed,timeout')
    .addOption(
      new Option('--fold <HOW>', 'same results together, or task by task')
        .choices(['exact', 'none'])
        .default('exact'),
    )
    .action((run: string, flags: ResultsFlags) =>
      perform(async (invocation) => (await import('./results.ts')).results(invocation, run, flags)),
    )
}

function addFleetVerbs(program: Command, perform: Perform): void {
  program
    .command('nodes')
    .description('every node, and how it is')
    .action(() => perform(async (invocation) => (await import('./nodes.ts')).nodes(invocation)))
  addGoingFlags(program.command('drain'))
    .description('have a node finish what it runs, hand back the rest and go')
    .argument('<NODE>', 'its id, as `muster nodes` lists it')
    .option('--wait', 'wait until it is gone', true)
    .option('--no-wait', 'return as soon as it drains')
    .action((node: string, flags: DrainFlags) =>
      perform(async (invocation) => (await import('./drain.ts')).drain(invocation, node, flags)),
    )
  addGoingFlags(program.command('stop'))
    .description('the same for the node of this data directory, or of --url')
    .action((flags: DrainFlags) =>
      perform(async (invocation) => (await import('./stop.ts')).stop(invocation, flags)),
    )
  const lease = program.command('lease').description('who leads what; take a lease away')
  lease
    .command('ls')
    .description('the leases that are held, by whom and since when')
    .action(() => perform(async (invocation) => (await import('./lease.ts')).leaseList(invocation)))
  lease
    .command('release')
    .description('take a lease from its holder, so that another node leads')
    .argument('<NAME>')
    .option('--force', 'needed: its holder may be alive and at work')
    .option('--reason <TEXT>', 'needed: why, for the log')
    .action((name: string, flags: ReleaseFlags) =>
      perform(async (invocation) =>
        (await import('./lease.ts')).leaseRelease(invocation, name, flags),
      ),
    )
}

function addLetterVerbs(program: Command, perform: Perform): void {
  const letters = program
    .command('deadletters')
    .helpCommand(false)
    .description('what could not be delivered or killed its worker, and why; another try')
  addFilterFlags(letters.command('ls'))
    .description('dead letters, newest first')
    .option('--open', 'only those that nobody has redriven')
    .action((flags: LetterListFlags) =>
      perform(async (invocation) =>
        (await import('./deadletters.ts')).letterList(invocation, flags),
      ),
    )
  letters
    .command('show')
    .description('one dead letter with what is in it, and who was lost to it')
    .argument('<ID>')
    .action((id: string) =>
      perform(async (invocation) => (await import('./deadletters.ts')).letterShow(invocation, id)),
    )
  addFilterFlags(letters.command('redrive'))
    .description('run dead tasks again, in a new run, at most 3 times; send messages back')
    .argument('[ID...]', 'those; or a filter')
    .option('--all', 'all that nobody has redriven')
    .option('--reason <TEXT>', 'needed: why, for the record')
    .action((ids: string[], flags: RedriveFlags) =>
      perform(async (invocation) =>
        (await import('./deadletters.ts')).letterRedrive(invocation, ids, flags),
      ),
    )
}

function addAuditVerb(program: Command, perform: Perform): void {
  program
    .command('audit')
    .description('is the runtime as well as its latency says: of a Prometheus, or of a node')
    .option('--target <URL>', 'the Prometheus to ask, instead of that of metrics.yaml')
    .addOption(
      new Option('--node <URL>', 'ask a node for its own audit; no Prometheus').conflicts('target'),
    )
    .addOption(
      new Option('--output-format <FORMAT>', 'default text').choices(['text', 'json'] as const),
    )
    .option('--fail-on-critical', 'exit 1 when it is CRITICAL or COLLAPSE_RISK')
    .option('--strict-telemetry', 'exit 1 when telemetry is missing, instead of counting 0.0')
    .option('--report <FILE>', 'write the report, as JSON')
    .option('--init', 'write a commented metrics.yaml and stop')
    .addHelpText('after', auditHelp)
    .action((flags: AuditFlags) =>
      perform(async (invocation) => (await import('./audit.ts')).audit(invocation, flags)),
    )
}

const auditHelp = `
Here --config is the metrics file (default ./metrics.yaml).
Exit codes: 0 audited, 1 critical (with --fail-on-critical) or no audit could be made, 2 usage.`

function addFilterFlags(command: Command): Command {
  return command
    .option('--run <RUN>', 'only those of a run')
    .option('--kind <KIND>', 'only those of a kind')
    .option('--mailbox <NAME>', 'only those of a mailbox')
    .addOption(
      new Option('--reason-class <REASON>', 'only those that died of this').choices([
        ...letterReasons,
        'stopped',
      ]),
    )
}

function addGoingFlags(command: Command): Command {
  return command
    .option('--reason <TEXT>', 'why, for its log')
    .option('--timeout <DURATION>', 'stop waiting after this long (default 1m)', duration)
}

function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  throw new InvalidArgumentError(`expected a duration like 500ms, 10s, 2m or 1h, got '${text}'`)
}

function parseKey(text: string): string {
  checkKey('--idempotency-key', text)
  return text
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) {
    throw new InvalidArgumentError(`expected a whole number of at least 1, got '${text}'`)
  }
  return Number(text)
}

function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw new InvalidArgumentError(`expected a port, 0 to 65535, got '${text}'`)
  }
  return Number(text)
}

function collect(value: string, all: string[] | undefined): string[] {
  return [...(all ?? []), value]
}

const roles = ['dispatcher', 'worker', 'collector'] as const
type Role = (typeof roles)[number]

function collectRoles(value: string, all: Role[] | undefined): Role[] {
  const named = value.split(',').map((word) => {
    const role = roles.find((each) => each === word)
    if (role === undefined) {
      throw new InvalidArgumentError(`expected some of ${roles.join(',')}, got '${word}'`)
    }
    return role
  })
  return [...(all ?? []), ...named]
}
