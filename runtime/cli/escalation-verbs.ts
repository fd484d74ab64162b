/** The verbs about escalations. */
import type { Command } from 'commander'
import type { EscalationFlags } from './escalations.ts'
import type { Perform } from './program.ts'

export function addEscalationVerbs(program: Command, perform: Perform): void {
  const escalations = program
    .command('escalations')
    .helpCommand(false)
    .description('kinds with too many bad outcomes: open escalations and their windows')
    .option('--all', 'the last one of every kind, closed ones too')
    .action((flags: EscalationFlags) =>
      perform(async (invocation) =>
        (await import('./escalations.ts')).escalationList(invocation, flags),
      ),
    )
  escalations
    .command('ack')
    .description('say that somebody has seen it; it stays until it has been calm')
    .argument('<METRIC>', 'as `muster escalations` lists it, or the kind')
    .option('--reason <TEXT>', 'for the record')
    .action((metric: string, flags: { reason?: string }) =>
      perform(async (invocation) =>
        (await import('./escalations.ts')).escalationAck(invocation, metric, flags),
      ),
    )
}
