/** The workers of a process, as children of a supervisor of their own. */
import { contenders } from '../actors/lease.ts'
import type { ChildSpec } from '../actors/supervisor.ts'
import { workersSupervisor } from '../actors/workers.ts'
import type { AssemblyOptions, Shared } from './assembly.ts'
import type { Fleet } from './fleet.ts'
import { nodePublisher } from './topics.ts'
import type { Workshop } from './workshop.ts'

const poisonKills = 2

export function workerChildren(
  options: AssemblyOptions,
  shared: Shared,
  { paces, holds, limiter, quarantine }: Workshop,
  fleet: Pick<Fleet, 'boot' | 'memberId' | 'contending'>,
): ChildSpec {
  const { id: node, process, kinds, config, drain, hurry, graceMs, throttle } = options
  const { retryBaseMs, retryCapMs, hangGraceMs } = config.worker
  return workersSupervisor({
    ...shared,
    kinds,
    node,
    self: fleet.memberId,
    shards: {
      ...fleet.contending(),
      members: shared.members,
      staleMs: config.member.staleMs,
      contender: contenders(fleet.memberId, `${fleet.boot}-${process ?? 'shards'}`),
    },
    ...(process === undefined ? {} : { process }),
    retry: { baseMs: retryBaseMs, capMs: retryCapMs, jitter: 0 },
    poisonKills,
    hangGraceMs,
    drain,
    hurry,
    graceMs,
    paces,
    holds,
    limiter,
    quarantine,
    throttle,
    publish: nodePublisher({ config, ports: shared, log: shared.log }),
  })
}
