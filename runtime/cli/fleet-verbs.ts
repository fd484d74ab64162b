/** The verbs about nodes and leases. */
import type { Command } from 'commander'
import type { DrainFlags } from './drain.ts'
import { duration } from './flags.ts'
import type { ReleaseFlags } from './lease.ts'
import type { NodesFlags } from './nodes.ts'
import type { Perform } from './program.ts'

export function addFleetVerbs(program: Command, perform: Perform): void {
  program
    .command('nodes')
    .description('every node, and how it is')
    .option('--endpoints', 'instead of them the hosts that are probed, and how they are')
    .action((flags: NodesFlags) =>
      perform(async (invocation) => (await import('./nodes.ts')).nodes(invocation, flags)),
    )
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

function addGoingFlags(command: Command): Command {
  return command
    .option('--reason <TEXT>', 'why, for its log')
    .option('--timeout <DURATION>', 'stop waiting after this long (default 1m)', duration)
}
