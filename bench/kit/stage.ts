/** One run on a fresh node: how fast, what it took of whom, and whether it was right. */
import type { Muster, Run } from '../../runtime/index.ts'
import { deliveryFaults } from './delivery.ts'
import { fileOf, noopLine } from './lines.ts'
import { BenchNode, type NodeOptions } from './node.ts'
import { type Busy, busyThreads } from './usage.ts'

type TaskSource = Parameters<Muster['submit']>[0]

/** The same before every stage, so that the memory of small and large ones can be compared. */
const warmUpTasks = 10_000
const bucketLimitMs = 30_000

export interface StageFigures {
  tasks: number
  /** By the run's own clock: from its creation until it was complete. */
  perSecond: number
  /** From outside: from the first byte sent until we are told that it is complete. */
  perSecondOutside: number
  envelopes: number
  envelopesPerSecond: number
  envelopeTasks: number
  nodeUs: number
  redisUs: number
  /** Of the busiest thread there is: what bounds the rate when there are cores enough. */
  threadUs: number
  /** How busy the busiest thread of each was, 0…1 of a core. */
  nodeBusy: number
  redisBusy: number
  /** To Redis and back, bytes a task. */
  redisBytes: number
  redisCommands: number
  nodeRssPeakBytes: number
  redisRssPeakBytes: number
  redisUsedPeakBytes: number
  threads: Busy[]
  /** Microseconds of Redis a task, by command. */
  commands: Record<string, number>
}

export interface Stage {
  tasks: number
  node?: NodeOptions
  /** Wait until the token bucket is full. */
  burst?: number
}

export async function runStage(stage: Stage): Promise<{ figures: StageFigures; faults: string[] }> {
  const { tasks, burst } = stage
  const file = await fileOf(noopLine, tasks)
  const node = await BenchNode.start(stage.node)
  try {
    const warmUp = await fileOf(noopLine, warmUpTasks)
    await submitAndWait(node, Bun.file(warmUp).stream())
    if (burst !== undefined) await fullBucket(node, burst)
    const { figures, run } = await measure(node, file, tasks)
    return { figures, faults: await deliveryFaults(node, run, tasks) }
  } finally {
    await node.stop()
  }
}

/** @throws Error when it is not complete in time: a run that hangs must not hang the benchmark */
export async function submitAndWait(
  node: BenchNode,
  source: TaskSource,
  limitMs = 120_000,
): Promise<Run> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => late.reject(new Error(`a run is not complete after ${limitMs} ms`)),
    limitMs,
  )
  const whole = node.muster.submit(source).then((handle) => handle.done())
  try {
    return await Promise.race([whole, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

async function measure(
  node: BenchNode,
  file: string,
  tasks: number,
): Promise<{ figures: StageFigures; run: Run }> {
  const infoBefore = await node.redisInfo()
  const envelopesBefore = await node.metric('threadpool_tasks_started_total')
  const before = node.usage()
  const begun = performance.now()
  // At a thousandth of a second a task somebody is asleep.
  const run = await submitAndWait(node, Bun.file(file).stream(), 60_000 + tasks)
  const wallMs = performance.now() - begun
  const after = node.usage()
  const info = await node.redisInfo()
  const envelopes = (await node.metric('threadpool_tasks_started_total')) - envelopesBefore
  const ownMs = (run.finishedAt ?? Number.NaN) - run.createdAt
  const grown = (name: string) => Number(info.get(name)) - Number(infoBefore.get(name) ?? 0)
  const threads = {
    node: busyThreads(before.node, after.node, wallMs),
    redis: busyThreads(before.redis, after.redis, wallMs),
  }
  const busiest = [...threads.node, ...threads.redis].map(({ share }) => share)
  const figures: StageFigures = {
    tasks,
    perSecond: (tasks / ownMs) * 1000,
    perSecondOutside: (tasks / wallMs) * 1000,
    envelopes,
    envelopesPerSecond: (envelopes / ownMs) * 1000,
    envelopeTasks: tasks / envelopes,
    nodeUs: ((after.node.cpuMs - before.node.cpuMs) / tasks) * 1000,
    redisUs: ((after.redis.cpuMs - before.redis.cpuMs) / tasks) * 1000,
    threadUs: (Math.max(...busiest) * wallMs * 1000) / tasks,
    nodeBusy: threads.node[0]?.share ?? 0,
    redisBusy: threads.redis[0]?.share ?? 0,
    redisBytes: (grown('total_net_input_bytes') + grown('total_net_output_bytes')) / tasks,
    redisCommands: grown('total_commands_processed') / tasks,
    nodeRssPeakBytes: after.node.rssPeakBytes,
    redisRssPeakBytes: after.redis.rssPeakBytes,
    redisUsedPeakBytes: Number(info.get('used_memory_peak')),
    threads: [...threads.node, ...threads.redis],
    commands: commandTimes(infoBefore, info, tasks),
  }
  return { figures, run }
}

/** Those that took a hundredth of a microsecond a task, or more. */
function commandTimes(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
  tasks: number,
): Record<string, number> {
  const usec = (text: string | undefined) => Number(/usec=(\d+)/.exec(text ?? '')?.[1] ?? 0)
  const times = [...after]
    .filter(([name]) => name.startsWith('cmdstat_'))
    .map(([name, text]) => [name.slice(8), (usec(text) - usec(before.get(name))) / tasks] as const)
    .filter(([, us]) => us >= 0.01)
    .toSorted(([, a], [, b]) => b - a)
  return Object.fromEntries(times)
}

async function fullBucket(node: BenchNode, burst: number): Promise<void> {
  const deadline = performance.now() + bucketLimitMs
  while ((await node.metric('muster_admission_tokens')) < burst) {
    if (performance.now() > deadline) throw new Error(`the bucket never held ${burst} tokens`)
    await Bun.sleep(50)
  }
}
