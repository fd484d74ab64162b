/** Values that are right each by itself and cannot both be meant. */
import type { Config } from './schema.ts'

interface Rule {
  /** The key to complain of. */
  path: string
  /** The keys it is measured by. */
  against: readonly string[]
  holds(config: Config): boolean
  /** Follows the word "expected". */
  expected(config: Config): string
}

export const rules: readonly Rule[] = [
  {
    // By two thirds of its time the holder gives up; one renewal late by 20 % must come before.
    path: 'lease.renewMs',
    against: ['lease.ttlMs'],
    holds: ({ lease }) => lease.renewMs * 1.2 < (lease.ttlMs * 2) / 3,
    expected: ({ lease }) =>
      `less than 5/9 of lease.ttlMs (${lease.ttlMs}), a third at best, so that late is in time`,
  },
  {
    // The operation under way when the holder gives up has to end before the lease does.
    path: 'lease.operationTimeoutMs',
    against: ['lease.ttlMs'],
    holds: ({ lease }) => (lease.ttlMs * 2) / 3 < lease.ttlMs - lease.operationTimeoutMs,
    expected: ({ lease }) =>
      `less than a third of lease.ttlMs (${lease.ttlMs}), so that it ends before the lease`,
  },
  {
    path: 'member.heartbeatMs',
    against: ['member.staleMs'],
    holds: ({ member }) => member.heartbeatMs * 2 <= member.staleMs,
    expected: ({ member }) =>
      `at most half of member.staleMs (${member.staleMs}), so that one may get lost`,
  },
  {
    path: 'mailbox.stalledIntervalMs',
    against: ['mailbox.lockMs'],
    holds: ({ mailbox }) => mailbox.stalledIntervalMs <= mailbox.lockMs,
    expected: ({ mailbox }) => `at most mailbox.lockMs (${mailbox.lockMs})`,
  },
  {
    path: 'worker.commandSoftKillMs',
    against: ['worker.commandHardKillMs'],
    holds: ({ worker }) => worker.commandSoftKillMs <= worker.commandHardKillMs,
    expected: ({ worker }) => `at most worker.commandHardKillMs (${worker.commandHardKillMs})`,
  },
  {
    path: 'worker.retryBaseMs',
    against: ['worker.retryCapMs'],
    holds: ({ worker }) => worker.retryBaseMs <= worker.retryCapMs,
    expected: ({ worker }) => `at most worker.retryCapMs (${worker.retryCapMs})`,
  },
  {
    path: 'worker.envelopeTasksMax',
    against: ['dispatcher.queueMax'],
    holds: ({ worker, dispatcher }) => worker.envelopeTasksMax <= dispatcher.queueMax,
    expected: ({ dispatcher }) => `at most dispatcher.queueMax (${dispatcher.queueMax})`,
  },
  {
    path: 'worker.envelopeTasksMax',
    against: ['mailbox.depthMax'],
    holds: ({ worker, mailbox }) => worker.envelopeTasksMax <= mailbox.depthMax,
    expected: ({ mailbox }) => `at most mailbox.depthMax (${mailbox.depthMax})`,
  },
  {
    path: 'log.flushBytes',
    against: ['log.fileBytesMax'],
    holds: ({ log }) => log.flushBytes <= log.fileBytesMax,
    expected: ({ log }) => `at most log.fileBytesMax (${log.fileBytesMax})`,
  },
  {
    path: 'health.degradedScore',
    against: ['health.criticalScore'],
    holds: ({ health }) => health.degradedScore < health.criticalScore,
    expected: ({ health }) => `less than health.criticalScore (${health.criticalScore})`,
  },
  {
    path: 'health.criticalScore',
    against: ['health.collapseScore'],
    holds: ({ health }) => health.criticalScore < health.collapseScore,
    expected: ({ health }) => `less than health.collapseScore (${health.collapseScore})`,
  },
  {
    path: 'escalation.windowMs',
    against: ['escalation.buckets'],
    holds: ({ escalation }) => escalation.windowMs % escalation.buckets === 0,
    expected: ({ escalation }) =>
      `a multiple of escalation.buckets (${escalation.buckets}), for even parts`,
  },
]

/**
 * Sizes that nobody set and that shrink with what they have to fit into: a smaller mailbox alone
 * contradicts nothing.
 */
export const shrinking: ReadonlyMap<string, (config: Config) => number> = new Map([
  [
    'worker.envelopeTasksMax',
    ({ worker, dispatcher, mailbox }) =>
      Math.min(worker.envelopeTasksMax, dispatcher.queueMax, mailbox.depthMax),
  ],
  ['log.flushBytes', ({ log }) => Math.min(log.flushBytes, log.fileBytesMax)],
])
