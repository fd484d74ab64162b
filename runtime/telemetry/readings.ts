/** What is not counted but read, each time that somebody asks for it. */
import type { AnyActorRef } from 'xstate'
import { isLive } from '../../actors/dead-letters.ts'
import type { HealthView } from '../../actors/health.ts'
import { mailboxKind, mailboxLabel } from '../../actors/place.ts'
import type { Admission, Mailboxes } from '../../actors/ports.ts'
import { findChild, isReady } from '../../actors/supervisor.ts'
import type { System } from '../../actors/system.ts'
import { isTopicMailbox } from '../../actors/topic-message.ts'
import { refill } from '../../machines/bucket.ts'
import type { DispatcherContext } from '../../machines/dispatcher.ts'
import { liveStatuses, type Sensor } from '../../machines/health-level.ts'
import type { SupervisorContext } from '../../machines/supervisor.ts'
import { systemStates } from '../../machines/system-rules.ts'
import { systemClock } from '../clock.ts'
import { version } from '../version.ts'
import type { Labels, MetricName } from './names.ts'
import type { Telemetry } from './telemetry.ts'

/** Values by the labels they have, of each gauge that can be read now. */
export type Readings = {
  [Name in MetricName<'gauge'>]?: [labels: Labels<Name>, value: number][]
}

export interface ReadingsOptions {
  telemetry: Telemetry
  /** The supervisor of all, once there is one. */
  root: AnyActorRef | undefined
  roles: readonly string[]
  /** Undefined while what they stand on is away. */
  ports: { mailboxes: Mailboxes; admission: Admission } | undefined
  /** Lines that wait to be written, where there are log files. */
  logDepth?: number | undefined
  /** Of the node, where it has one. */
  system?: Pick<System, 'view' | 'spentMs'> | undefined
  /** Of a node that watches its health. */
  health?: HealthView | undefined
}

/** Who asks for metrics must not wait for a Redis that does not answer. */
const patienceMs = 1000

export async function readingsOf(options: ReadingsOptions): Promise<Readings> {
  const { telemetry, root, roles, ports, logDepth, system, health } = options
  const lag = telemetry.lag.summary()?.quantiles.get(1)
  const tokens = root === undefined ? undefined : tokensOf(root)
  const leases = [...telemetry.leases]
  return {
    muster_build_info: [[[version(), Bun.version], 1]],
    muster_lease_held: leases.map(([name, { isHeld }]) => [[name], isHeld ? 1 : 0]),
    muster_lease_epoch: leases.flatMap(([name, { epoch }]) =>
      epoch === undefined ? [] : [[[name], epoch]],
    ),
    muster_worker_alive: roles.map((role) => [
      [role],
      root !== undefined && isUp(root, role) ? 1 : 0,
    ]),
    ...(tokens === undefined ? {} : { muster_admission_tokens: [[[], tokens]] }),
    ...(logDepth === undefined ? {} : { muster_log_queue_depth: [[[], logDepth]] }),
    ...(system === undefined ? {} : statesOf(system)),
    ...(health === undefined ? {} : healthOf(health)),
    ...containersOf(telemetry),
    active_requests: [[[], telemetry.activeRequests]],
    ...(lag === undefined ? {} : { asyncio_event_loop_lag_seconds: [[[], lag]] }),
    ...(ports === undefined ? {} : await inTime(depthsOf(ports))),
  }
}

function statesOf(system: Pick<System, 'view' | 'spentMs'>): Readings {
  const { state } = system.view
  const spent = Object.entries(system.spentMs())
  return {
    muster_system_state: systemStates.map((name) => [[name], name === state ? 1 : 0]),
    muster_system_state_seconds: spent.map(([name, ms]) => [[name], ms / 1000]),
  }
}

function healthOf({ status, score, level, coverage, sensors }: HealthView): Readings {
  const sees = ({ state }: Sensor) => state === 'proved' || state === 'measuring'
  const bytes = sensors.find(({ name }) => name === 'memory')?.value
  return {
    muster_health_score: [[[], score]],
    ...(level === undefined ? {} : { muster_health_level: [[[], level]] }),
    muster_health_status: liveStatuses.map((name) => [[name], name === status ? 1 : 0]),
    muster_health_coverage: [[[], coverage.of === 0 ? 0 : coverage.seeing / coverage.of]],
    muster_health_sensor: sensors.map((sensor) => [[sensor.name], sees(sensor) ? 1 : 0]),
    ...(bytes === undefined ? {} : { muster_memory_bytes: [[[], bytes]] }),
  }
}

function containersOf({ containers }: Telemetry): Readings {
  const { total: _, waiting = 0, ...states } = containers.counts() ?? {}
  const slots = Object.entries(states)
  if (slots.length === 0) return {}
  return {
    muster_container_slots: slots.map(([state, count]) => [[state], count]),
    muster_container_waiting: [[[], waiting]],
  }
}

async function inTime(reading: Promise<Readings>): Promise<Readings> {
  const answered = new AbortController()
  const late = systemClock.wait(patienceMs, answered.signal).then((): Readings => ({}))
  try {
    // What comes too late, or fails, is missing; its absence says what there is to say.
    return await Promise.race([reading.catch((): Readings => ({})), late])
  } finally {
    answered.abort()
  }
}

async function depthsOf({
  mailboxes,
  admission,
}: NonNullable<ReadingsOptions['ports']>): Promise<Readings> {
  const isTold = (name: string) => mailboxKind(name) !== undefined || isTopicMailbox(name)
  const names = (await mailboxes.names()).filter(isTold)
  const now = systemClock.now()
  const ages = new Map<string, number>()
  const depths = new Map<string, number>()
  // Those of single nodes are told together: their names are no labels.
  await Promise.all(
    names.map(async (mailbox) => {
      const [tasks, { waiting, active, delayed }, oldestAt = now] = await Promise.all([
        admission.used(mailbox),
        mailboxes.depth(mailbox),
        mailboxes.oldestAt(mailbox),
      ])
      const label = mailboxLabel(mailbox)
      const ageSeconds = Math.max(0, now - oldestAt) / 1000
      ages.set(label, Math.max(ages.get(label) ?? 0, ageSeconds))
      // Messages of topics are no tasks, and hold no room.
      const held = isTopicMailbox(mailbox) ? waiting + active + delayed : tasks
      for (const [state, share] of divide(held, { waiting, active, delayed })) {
        const name = `${label} ${state}`
        depths.set(name, (depths.get(name) ?? 0) + share)
      }
    }),
  )
  return {
    muster_mailbox_depth: [...depths].map(([name, tasks]) => {
      const [label = '', state = ''] = name.split(' ')
      return [[label, state], tasks]
    }),
    muster_mailbox_oldest_age_seconds: [...ages].map(([label, seconds]) => [[label], seconds]),
  }
}

/**
 * Tasks by state: how many there are is known exactly, and of the states the envelopes. Those whose
 * envelope is gone have results on their way; they show when no envelope is left.
 */
export function divide(
  tasks: number,
  envelopes: { waiting: number; active: number; delayed: number },
): [state: string, tasks: number][] {
  let left = Math.max(0, tasks)
  let among = envelopes.waiting + envelopes.active + envelopes.delayed
  const shares = Object.entries(envelopes).map(([state, count]): [string, number] => {
    const share = among === 0 ? 0 : Math.round((left * count) / among)
    left -= share
    among -= count
    return [state, share]
  })
  return [...shares, ['settling', left]]
}

/** What the bucket of this node's dispatcher would hold if it was asked now. */
function tokensOf(root: AnyActorRef): number | undefined {
  const dispatcher = isLive(root) ? findChild(root, 'dispatcher') : undefined
  const turns = dispatcher === undefined ? undefined : findChild(dispatcher, 'turns')
  if (turns === undefined) return undefined
  const { context } = turns.getSnapshot() as { context: DispatcherContext }
  const { tokens } = refill(context.bucket, context.policy, systemClock.monotonic())
  return Math.max(0, tokens * context.share)
}

/** Its child in the tree is ready; of worker processes, one of them. */
function isUp(root: AnyActorRef, role: string): boolean {
  if (role !== 'worker') return isReady(findChild(root, role)?.getSnapshot())
  const workers = findChild(root, 'workers')
  if (workers !== undefined) return isReady(workers.getSnapshot())
  const processes = findChild(root, 'processes')?.getSnapshot() as
    | { context: SupervisorContext }
    | undefined
  return processes?.context.children.some(({ status }) => status === 'ready') === true
}
