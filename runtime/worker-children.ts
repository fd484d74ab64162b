/** The workers of a process, as children of a supervisor of their own. */
import type { ChildSpec } from '../actors/supervisor.ts'
import { workersSupervisor } from '../actors/workers.ts'
import type { AssemblyOptions, Shared } from './assembly.ts'
import type { Workshop } from './workshop.ts'

const poisonKills = 2

export function workerChildren(
  options: AssemblyOptions,
  shared: Shared,
  { paces, holds, limiter, quarantine }: Workshop,
): ChildSpec {
  const { id: node, process, kinds, config, drain, hurry, graceMs, throttle } = options
  const { retryBaseMs, retryCapMs, hangGraceMs } = config.worker
  return workersSupervisor({
    ...shared,
    kinds,
    node,
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
  })
}
