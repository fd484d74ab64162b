/** The verbs about the state of the system. */
import type { Command } from 'commander'
import type { Perform } from './program.ts'
import type { ReasonFlags } from './state.ts'

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
}
