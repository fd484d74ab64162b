/** The verbs that bring work. */
import type { Command } from 'commander'
import { collect, collectHosts, duration, parseCount, parseKey } from './flags.ts'
import type { RunFlags } from './intake.ts'
import type { Perform } from './program.ts'

export function addWorkVerbs(program: Command, perform: Perform): void {
  addWaitFlags(addIntakeFlags(program.command('run')))
    .description('run tasks (NDJSON) or one command, wait and report')
    .usage('[flags] FILE|-\n       muster run [-H NODESET] [flags] -- ARGV…')
    .argument('[FILE]', 'file of tasks, one JSON object a line; - is stdin')
    .option(
      '-H, --hosts <NODESET>',
      'run the command once on each of these, as in web[001-040],db1 (repeatable)',
      collectHosts,
    )
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
