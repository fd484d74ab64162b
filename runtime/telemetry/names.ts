/**
 * Every metric of a node: its name, what it means, its labels. One with labels has no series before
 * something feeds it. Those without the prefix `muster_` are what `muster audit` asks a Prometheus
 * for.
 */

interface Metric {
  type: 'counter' | 'gauge' | 'histogram' | 'summary'
  help: string
  labels: readonly string[]
  /** Upper bounds, in seconds. */
  buckets?: readonly number[]
}

const momentary = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const
const choosing = [1e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 0.001, 0.01] as const
const lasting = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600] as const
const blocking = [0.1, 0.25, 0.5, 1, 2.5, 10, 30] as const
const none = [] as const

export const metrics = {
  muster_build_info: {
    type: 'gauge',
    help: 'Always 1; version of this node and of the Bun that it runs on.',
    labels: ['version', 'bun'],
  },
  muster_tasks_total: {
    type: 'counter',
    help: 'Tasks that ended, by outcome: each counted once, by the node that leads the collector.',
    labels: ['kind', 'outcome'],
  },
  muster_task_duration_seconds: {
    type: 'histogram',
    help: 'How long attempts ran that this node settled.',
    labels: ['kind'],
    buckets: lasting,
  },
  muster_retries_total: {
    type: 'counter',
    help: 'Attempts that are made again, as this node settled them.',
    labels: ['kind'],
  },
  muster_queue_wait_seconds: {
    type: 'histogram',
    help: 'How long tasks waited for a worker while they could have run; a redelivery is no wait.',
    labels: ['mailbox'],
    buckets: lasting,
  },
  muster_mailbox_depth: {
    type: 'gauge',
    help: 'Tasks in a mailbox (of a topic: messages), over all nodes; by state as envelopes are.',
    labels: ['mailbox', 'state'],
  },
  muster_mailbox_oldest_age_seconds: {
    type: 'gauge',
    help: 'Since when the oldest waiting message of a mailbox could have been taken; 0 if none.',
    labels: ['mailbox'],
  },
  muster_admission_tokens: {
    type: 'gauge',
    help: 'Tasks that the token bucket of this dispatcher would let out at once.',
    labels: none,
  },
  muster_admission_rejected_total: {
    type: 'counter',
    help: 'Submissions that were not accepted, by reason.',
    labels: ['reason'],
  },
  muster_routing_seconds: {
    type: 'histogram',
    help: 'How long the dispatcher took to put an envelope into its mailbox, durably.',
    labels: none,
    buckets: momentary,
  },
  muster_placement_seconds: {
    type: 'histogram',
    help: 'How long the choice of a node took for an envelope that is placed on one of several.',
    labels: none,
    buckets: choosing,
  },
  muster_attempts_total: {
    type: 'counter',
    help: 'Attempts that this node settled, by how they went.',
    labels: ['kind', 'outcome'],
  },
  muster_aggregation_seconds: {
    type: 'histogram',
    help: 'How long a batch of results took: counted, stored and logged, or brought to its sets.',
    labels: none,
    buckets: momentary,
  },
  muster_escalations_total: {
    type: 'counter',
    help: 'Escalations that this node opened: bad outcomes of a kind that reached their threshold.',
    labels: ['metric'],
  },
  muster_deadletters_total: {
    type: 'counter',
    help: 'What could not be delivered: tasks by work mailbox, messages by actor, and why.',
    labels: ['mailbox', 'reason'],
  },
  muster_stalled_total: {
    type: 'counter',
    help: 'Messages whose lock ended, and that were delivered again.',
    labels: ['mailbox'],
  },
  muster_restarts_total: {
    type: 'counter',
    help: 'Failures of supervised actors after which they were started again.',
    labels: ['child'],
  },
  muster_worker_alive: {
    type: 'gauge',
    help: '1 while what does the work of a role of this node is up.',
    labels: ['role'],
  },
  muster_system_state: {
    type: 'gauge',
    help: 'The state of this node: 1 for the one it is in, 0 for the others.',
    labels: ['state'],
  },
  muster_system_state_seconds: {
    type: 'gauge',
    help: 'How long this node has been in each state since it was started.',
    labels: ['state'],
  },
  muster_system_transitions_total: {
    type: 'counter',
    help: 'Changes of the state of this node.',
    labels: ['from', 'to'],
  },
  muster_lease_epoch: {
    type: 'gauge',
    help: 'Epoch of the newest grant of a lease that this node has had.',
    labels: ['lease'],
  },
  muster_lease_held: {
    type: 'gauge',
    help: '1 while this node holds a lease that it contends for.',
    labels: ['lease'],
  },
  muster_failovers_total: {
    type: 'counter',
    help: 'Leaderships that this node took over, from another node or from itself.',
    labels: ['lease'],
  },
  muster_failover_seconds: {
    type: 'histogram',
    help: 'For how long nobody led before this node took over.',
    labels: none,
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 15, 30, 60],
  },
  muster_event_loop_lag_seconds: {
    type: 'summary',
    help: 'How late timers ran in the last minute, in all processes of this node.',
    labels: none,
  },
  muster_blocking_seconds: {
    type: 'histogram',
    help: 'For how long an event loop of this node stood still, when for 50 ms or more.',
    labels: none,
    buckets: blocking,
  },
  muster_loop_held_seconds: {
    type: 'histogram',
    help: 'For how long tasks of a kind held an event loop of this node in one go, if for 50 ms.',
    labels: ['kind'],
    buckets: blocking,
  },
  muster_idle_wait_seconds: {
    type: 'histogram',
    help: 'How long envelopes waited though their worker had a hand free.',
    labels: none,
    buckets: lasting,
  },
  muster_health_score: {
    type: 'gauge',
    help: 'The score of the audit, of the last seconds ([health] windowMs); 0 is best.',
    labels: none,
  },
  muster_health_level: {
    type: 'gauge',
    help: 'The same from 0 to 1, 1 is best, as the state of the node goes by it.',
    labels: none,
  },
  muster_health_status: {
    type: 'gauge',
    help: '1 for the status of this node, 0 for the others; UNKNOWN while its sensors are blind.',
    labels: ['status'],
  },
  muster_health_coverage: {
    type: 'gauge',
    help: 'Share of the sensors of health that see something.',
    labels: none,
  },
  muster_health_sensor: {
    type: 'gauge',
    help: '1 while a sensor of health sees something, 0 while it is blind or off.',
    labels: ['sensor'],
  },
  muster_memory_bytes: {
    type: 'gauge',
    help: 'Resident memory of this node, its worker processes included.',
    labels: none,
  },
  muster_memory_high_water_total: {
    type: 'counter',
    help: 'How often memory rose above its high-water mark, and the intake was closed.',
    labels: none,
  },
  muster_memory_collections_total: {
    type: 'counter',
    help: 'Collections that were asked for because of that.',
    labels: none,
  },
  muster_container_slots: {
    type: 'gauge',
    help: 'Containers of this node by state, from its first task of that kind on.',
    labels: ['state'],
  },
  muster_container_waiting: {
    type: 'gauge',
    help: 'Tasks of this node that wait for a container.',
    labels: none,
  },
  muster_container_checkout_seconds: {
    type: 'histogram',
    help: 'How long tasks waited for the container that they got.',
    labels: none,
    buckets: momentary,
  },
  muster_container_refused_total: {
    type: 'counter',
    help: 'Tasks that got no container, by the code of their error.',
    labels: ['reason'],
  },
  muster_container_resets_total: {
    type: 'counter',
    help: 'Containers that were to be made clean for the next task: ok, or failed and replaced.',
    labels: ['outcome'],
  },
  muster_container_make_failures_total: {
    type: 'counter',
    help: 'Containers that could not be made.',
    labels: none,
  },
  muster_log_dropped_total: {
    type: 'counter',
    help: 'Lines that were left out of the log files because too many waited to be written.',
    labels: ['level'],
  },
  muster_log_queue_depth: {
    type: 'gauge',
    help: 'Lines that wait to be written to the log files.',
    labels: none,
  },
  http_request_duration_seconds: {
    type: 'histogram',
    help: 'How long requests took until their answer began.',
    labels: none,
    buckets: momentary,
  },
  active_requests: {
    type: 'gauge',
    help: 'Requests whose answer has not begun.',
    labels: none,
  },
  asyncio_event_loop_lag_seconds: {
    type: 'gauge',
    help: 'The largest of muster_event_loop_lag_seconds.',
    labels: none,
  },
  blocking_events_total: {
    type: 'counter',
    help: 'How often an event loop of this node stood still for 50 ms or more.',
    labels: none,
  },
  blocking_duration_seconds: {
    type: 'histogram',
    help: 'The same as muster_blocking_seconds.',
    labels: none,
    buckets: blocking,
  },
  threadpool_queue_wait_seconds: {
    type: 'histogram',
    help: 'How long envelopes waited for a worker while they could have been taken.',
    labels: none,
    buckets: lasting,
  },
  threadpool_tasks_started_total: {
    type: 'counter',
    help: 'Envelopes that workers have taken.',
    labels: none,
  },
  threadpool_tasks_completed_total: {
    type: 'counter',
    help: 'Envelopes that workers are done with: settled, or given back.',
    labels: none,
  },
} as const satisfies Record<string, Metric>

type Metrics = typeof metrics

export type MetricName<Type extends Metric['type'] = Metric['type']> = {
  [Name in keyof Metrics]: Metrics[Name]['type'] extends Type ? Name : never
}[keyof Metrics]

type Each<Names extends readonly string[]> = { readonly [Index in keyof Names]: string }

/** One value for each label, in their order. */
export type Labels<Name extends MetricName> = Each<Metrics[Name]['labels']>
