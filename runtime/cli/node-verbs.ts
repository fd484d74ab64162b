/** The verbs about this node and this program. */
import { Argument, type Command, Option } from 'commander'
import type { BenchFlags } from './bench.ts'
import { collect, collectLabels, collectRoles, parseCount, parsePort } from './flags.ts'
import type { Perform } from './program.ts'
import type { StartFlags } from './start.ts'

export function addNodeVerbs(program: Command, perform: Perform): void {
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
    .option('--label <K=V>', 'label that tasks may select this node by (repeatable)', collectLabels)
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
    .command('doctor')
    .description('is this environment fit for a node, and how to mend what is not')
    .addHelpText('after', doctorHelp)
    .action(() => perform(async (invocation) => (await import('./doctor.ts')).doctor(invocation)))
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

const doctorHelp = `
Exit codes: 0 all is well, 1 something is doubtful, 2 something that is needed is missing.`
