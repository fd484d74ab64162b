/** The verbs about runs: control, progress, results. */
import { type Command, Option } from 'commander'
import type { ControlFlags } from './control.ts'
import { collect, duration, parseCount } from './flags.ts'
import type { Perform } from './program.ts'
import type { ResultsFlags } from './results.ts'
import type { RetryFlags } from './retry.ts'

export function addRunVerbs(program: Command, perform: Perform): void {
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

const controls = {
  pause: 'start no more tasks of a run, or of the whole system, until it is resumed',
  resume: 'go on with a run that is paused, or with the whole system',
  cancel: 'end a run: what runs is aborted, what waits is not run',
} as const

export function addReadingVerbs(program: Command, perform: Perform): void {
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
        .choices(['exact', 'similar', 'none'])
        .default('exact'),
    )
    .action((run: string, flags: ResultsFlags) =>
      perform(async (invocation) => (await import('./results.ts')).results(invocation, run, flags)),
    )
}
