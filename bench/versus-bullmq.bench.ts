/**
 * What do envelopes buy? The same no-op tasks through Muster (accounted for, stored and logged) and
 * through plain BullMQ (one job a task, added a thousand at a time, nothing kept), each on a fresh
 * Redis with the same settings (unix socket, AOF everysec, noeviction), in turns.
 *
 *   bun bench/versus-bullmq.bench.ts [--quick] [--json]
 */
import { join } from 'node:path'
import { startRedis } from '../test/kit/redis.ts'
import { comparison, inTurns, median, type Pace, slowest } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import type { PlainFigures } from './kit/plain-bullmq.ts'
import { publish, say } from './kit/report.ts'
import { runStage } from './kit/stage.ts'
import { processorMs } from './kit/usage.ts'

const options = readOptions()
/** Quick, BullMQ gets fewer: its pace does not depend on how many there are. */
const musterTasks = options.isQuick ? 50_000 : 100_000
const bullmqTasks = options.isQuick ? 6000 : 100_000
const rounds = options.isQuick ? 2 : 5
/** As many as Muster's own default; more make it no faster. */
const concurrency = 64
const limitMs = 300_000
const faults: string[] = []

async function muster(): Promise<Pace> {
  const { figures, faults: found } = await runStage({ tasks: musterTasks })
  faults.push(...found)
  const { perSecondOutside: perSecond, nodeUs, redisUs } = figures
  say(`muster: ${Math.round(perSecond)} tasks/s`)
  return { perSecond, cpuUs: nodeUs + redisUs }
}

async function bullmq(): Promise<Pace> {
  const server = await startRedis()
  try {
    const redisBefore = processorMs(server.pid)
    const script = join(import.meta.dir, 'kit/plain-bullmq.ts')
    const child = Bun.spawn(
      [process.execPath, '--no-install', script, server.path, `${bullmqTasks}`, `${concurrency}`],
      { stdio: ['ignore', 'pipe', 'inherit'], timeout: limitMs },
    )
    const text = await new Response(child.stdout).text()
    if ((await child.exited) !== 0) throw new Error(`plain BullMQ ended with ${child.exitCode}`)
    const redisMs = processorMs(server.pid) - redisBefore
    const { ms, cpuMs, missing, twice } = JSON.parse(text) as PlainFigures
    if (missing + twice > 0) faults.push(`plain BullMQ: ${missing} tasks missing, ${twice} twice`)
    const perSecond = (bullmqTasks / ms) * 1000
    say(`bullmq: ${Math.round(perSecond)} tasks/s`)
    return { perSecond, cpuUs: ((cpuMs + redisMs) * 1000) / bullmqTasks }
  } finally {
    await server.stop()
  }
}

const sides = await inTurns(rounds, { muster, bullmq })
const { throughput, processorTime } = comparison(sides.muster, sides.bullmq)
const row = (what: string, tasks: number, all: readonly Pace[]) => ({
  what,
  tasks,
  rounds: all.length,
  perSecond: median(all.map(({ perSecond }) => perSecond)),
  slowest: slowest(all.map(({ perSecond }) => perSecond)),
  cpuUs: median(all.map(({ cpuUs }) => cpuUs)),
})
await publish(
  {
    bench: 'versus-bullmq',
    columns: [
      { key: 'what', title: 'noop tasks through' },
      { key: 'tasks', title: 'tasks' },
      { key: 'rounds', title: 'rounds' },
      { key: 'perSecond', title: 'tasks/s' },
      { key: 'slowest', title: 'p99 (slowest)' },
      { key: 'cpuUs', title: 'CPU a task, with Redis', digits: 1, unit: 'µs' },
    ],
    rows: [
      row('Muster', musterTasks, sides.muster),
      row('plain BullMQ, one job a task', bullmqTasks, sides.bullmq),
    ],
    ratios: {
      'Muster ÷ plain BullMQ': throughput,
      'CPU of plain BullMQ ÷ of Muster': processorTime,
    },
    notes: ['from the first byte sent, or the first job added, until the last one is complete'],
    faults,
  },
  options,
)
