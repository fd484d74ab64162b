/** The verbs about the state of the system. */
import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../../config/duration.ts'
import type { Perform } from './program.ts'
import type { ReasonFlags } from './state.ts'
import type { TopFlags } from './top.ts'

export function addStateVerbs(program: Command, perform: Perform): void {
  const state = program
    .command('state')
    .description('how the system is: OPERATIONAL, DEGRADED, …; change it; how it came to that')
    .helpCommand(false)
    .action(() => perform(async (invocation) => (await import('./state.ts')).state(invocation)))
  state
    .command('set')
    .description('PAUSED, and what ends it, holds for all nodes; the rest for the one asked')
    .argument('<STATE>', 'PAUSED, RECOVERY, OPERATIONAL, DEGRADED or REFLECTIVE')
    .option('--reason <TEXT>', 'needed: why, for the record')
    .action((name: string, flags: ReasonFlags) =>
      perform(async (invocation) => (await import('./state.ts')).stateSet(invocation, name, flags)),
    )
  state
    .command('history')
    .description('the transitions of all nodes, newest first')
    .action(() =>
      perform(async (invocation) => (await import('./state.ts')).stateHistory(invocation)),
    )
  program
    .command('top')
    .description('live view of a node: state and why, throughput, mailboxes, runs, nodes, health')
    .option('--once', 'one frame, also on a terminal')
    .option('--interval <DURATION>', 'between two looks (default 1s)', interval)
    .addHelpText('after', topHelp)
    .action((flags: TopFlags) =>
      perform(async (invocation) => (await import('./top.ts')).top(invocation, flags)),
    )
}

const topHelp = `
q or Ctrl-C leaves. On no terminal, and with --json, it prints one frame; with --interval one after
the other.`

const intervalMinMs = 100

function interval(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined && ms >= intervalMinMs) return ms
  throw new InvalidArgumentError(`expected a duration of 100ms or more, such as 2s; got '${text}'`)
}
