/** One part of the way of a task, taken by itself, through its port: what it costs a task. */
import type { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import { median, percentile } from './figures.ts'
import type { Options } from './options.ts'
import { type Column, publish, type Row, say } from './report.ts'

export interface Part {
  what: string
  /** Of one round. */
  tasks: number
  /** How often the port is called in a round. */
  calls: number
  round(): Promise<unknown>
}

const columns: Column[] = [
  { key: 'what', title: 'part' },
  { key: 'rounds', title: 'rounds' },
  { key: 'taskUs', title: 'a task, p50', digits: 3, unit: 'µs' },
  { key: 'taskUsP99', title: 'p99', digits: 3, unit: 'µs' },
  { key: 'callUs', title: 'a call, p50', digits: 1, unit: 'µs' },
  { key: 'cpuUs', title: 'CPU of this process a task', digits: 3, unit: 'µs' },
  { key: 'redisUs', title: 'of Redis', digits: 3, unit: 'µs' },
]

const rate: Column = { key: 'perSecond', title: 'tasks a second, p50' }

/** Before they are compiled, functions take several times as long. */
const warmUpRounds = 20

export const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }

export interface PartsOptions {
  bench: string
  options: Options
  parts: readonly Part[]
  /** Where it is used: its processor time is asked for. */
  redis?: Redis
  notes?: readonly string[]
  /** Say as well how many tasks that makes in a second. */
  isRated?: boolean
  /** Asked at the end. */
  faults(): Promise<string[]>
}

/** Measures part after part, some rounds each after some that warm up, and publishes. */
export async function measureParts(given: PartsOptions): Promise<void> {
  const { bench, options, parts, redis, notes = [], isRated = false } = given
  const rounds = options.isQuick ? 10 : 100
  const rows: Row[] = []
  for (const part of parts) {
    rows.push(await measurePart(part, rounds, redis))
    say(`${part.what}: done`)
  }
  const faults = await given.faults()
  const shown = isRated ? [...columns, rate] : columns
  await publish({ bench, columns: shown, rows, notes, faults }, options)
}

async function measurePart(
  { what, tasks, calls, round }: Part,
  rounds: number,
  redis: Redis | undefined,
): Promise<Row> {
  for (let index = 0; index < warmUpRounds; index += 1) await round()
  const timesMs: number[] = []
  const redisBefore = await processorMs(redis)
  const before = process.cpuUsage()
  for (let index = 0; index < rounds; index += 1) {
    const begun = performance.now()
    await round()
    timesMs.push(performance.now() - begun)
    // What is done later, by timers, is done while it is measured.
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { user, system } = process.cpuUsage(before)
  const redisMs = (await processorMs(redis)) - redisBefore
  const taskUs = timesMs.map((ms) => (ms * 1000) / tasks)
  return {
    what,
    rounds,
    taskUs: median(taskUs),
    perSecond: Math.round(1_000_000 / median(taskUs)),
    taskUsP99: percentile(taskUs, 0.99),
    callUs: (median(timesMs) * 1000) / calls,
    cpuUs: (user + system) / (tasks * rounds),
    redisUs: redis === undefined ? undefined : (redisMs * 1000) / (tasks * rounds),
  }
}

async function processorMs(redis: Redis | undefined): Promise<number> {
  if (redis === undefined) return 0
  const info = await redis.info('cpu')
  const seconds = (name: string) => Number(new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1])
  return 1000 * (seconds('used_cpu_user') + seconds('used_cpu_sys'))
}
