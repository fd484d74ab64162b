/**
 * What does it take to make good for a node that died? One of four has tasks waiting in a mailbox
 * of its own, and has begun with the first; then it is killed, or frozen, which nothing but its
 * silence tells. Timed from that moment on: until the others know, until the last of its tasks lies
 * in the mailbox of another one, and until all are done. Each must have run exactly once.
 *
 *   bun bench/failover.bench.ts [--quick] [--json]
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { SlotKeys } from '../runtime/redis/keys.ts'
import { eventually } from '../test/kit/eventually.ts'
import { deliveryFaults } from './kit/delivery.ts'
import { fileOf } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const tasks = options.isQuick ? 10_000 : 100_000
const heartbeatMs = 1000
const beatsMax = 3
const redistributedMaxMs = 10_000
const faults: string[] = []

const env = {
  MUSTER_MEMBER_HEARTBEAT_MS: String(heartbeatMs),
  MUSTER_MEMBER_STALE_MS: String(beatsMax * heartbeatMs),
  // All of them wait in the mailbox, and none in the spool.
  MUSTER_DISPATCHER_QUEUE_MAX: String(2 * tasks),
}
const line = '{"kind":"bench.held","select":{"bench":"yes"}}'

interface Fleet {
  /** Takes the tasks, collects the results and coordinates. */
  front: BenchNode
  /** It is going to die. */
  doomed: BenchNode
  redis: Redis
  /** Where workers note what they ran. */
  ran: string
}

function start(id: string, more: Record<string, string>, front?: BenchNode): Promise<BenchNode> {
  const label = front === undefined ? [] : ['--label', 'bench=yes', '--role', 'worker']
  return BenchNode.start({
    ...(front === undefined ? {} : { dataDir: front.dataDir }),
    env: { ...env, ...more },
    words: ['--node-id', id, '--tasks', join(import.meta.dir, 'kit/held.tasks.ts'), ...label],
  })
}

async function withFleet(work: (fleet: Fleet) => Promise<Row>): Promise<Row> {
  const front = await start('front', {})
  const redis = new Redis({ path: join(front.dataDir, 'redis', 'redis.sock') })
  try {
    const ran = join(front.dataDir, 'ran')
    mkdirSync(ran)
    const holds = { BENCH_HOLDS: '1', MUSTER_WORKER_CONCURRENCY: '1' }
    const doomed = await start('doomed', holds, front)
    return await work({ front, doomed, redis, ran })
  } finally {
    redis.disconnect()
    await front.stop()
  }
}

/** Envelopes of a mailbox, whatever state they are in. */
async function envelopesIn(redis: Redis, node: string): Promise<number> {
  const mailbox = `work.bench.held@${node}`
  const key = (type: string) => `${new SlotKeys().mailboxPrefix(mailbox)}:${mailbox}:${type}`
  const counts = await Promise.all([
    redis.llen(key('wait')),
    redis.zcard(key('prioritized')),
    redis.zcard(key('delayed')),
    redis.llen(key('active')),
  ])
  return counts.reduce((sum, count) => sum + count, 0)
}

/** How long it took until it was so, ms. */
async function until(begun: number, what: string, isSo: () => Promise<boolean>): Promise<number> {
  const look = async () => {
    if (!(await isSo())) throw new Error(what)
    return performance.now() - begun
  }
  return eventually(look, { timeoutMs: 60_000, intervalMs: 10 })
}

async function measure(how: string, signal: 'SIGKILL' | 'SIGSTOP'): Promise<Row> {
  return withFleet(async ({ front, doomed, redis, ran }) => {
    const handle = await front.muster.submit(Bun.file(await fileOf(line, tasks)).stream())
    // Whoever comes now finds all of them placed.
    await Promise.all(['b', 'c'].map((id) => start(id, { BENCH_RAN: ran }, front)))
    await until(0, 'the others are not there', async () => {
      const nodes = await front.muster.nodes()
      return nodes.filter(({ state }) => state === 'alive').length === 4
    })
    const envelopes = await envelopesIn(redis, 'doomed')
    const begun = performance.now()
    process.kill(doomed.pid, signal)
    const [knownMs, movedMs, run] = await Promise.all([
      until(begun, 'nobody knows', async () => {
        const nodes = await front.muster.nodes()
        return nodes.find(({ id }) => id === 'doomed')?.state === 'dead'
      }),
      until(begun, 'not all are moved', async () => (await envelopesIn(redis, 'doomed')) === 0),
      handle.done(),
    ])
    const doneMs = performance.now() - begun
    say(`${how}: done`)
    if (signal === 'SIGSTOP') await wake(doomed)
    faults.push(...(await deliveryFaults(front, run, tasks)), ...ranFaults(ran))
    const beats = knownMs / heartbeatMs
    const redistributedMs = movedMs - knownMs
    if (beats > beatsMax) faults.push(`${how}: known after ${beats} heartbeats, over ${beatsMax}`)
    if (redistributedMs > redistributedMaxMs) {
      faults.push(`${how}: redistributed in ${redistributedMs} ms, over ${redistributedMaxMs}`)
    }
    return { how, tasks, envelopes, beats, redistributedMs, doneMs }
  })
}

/** What it has to say now nobody is to take; it finds itself displaced, and ends. */
async function wake({ pid }: BenchNode): Promise<void> {
  process.kill(pid, 'SIGCONT')
  await until(0, 'who was frozen is still there', async () => {
    const status = await Bun.file(`/proc/${pid}/stat`)
      .text()
      .catch(() => ') Z')
    return status.includes(') Z')
  })
}

function ranFaults(folder: string): string[] {
  const times = new Uint8Array(tasks)
  for (const name of readdirSync(folder)) {
    const bytes = new Uint8Array(readFileSync(join(folder, name)))
    for (const seq of new Uint32Array(bytes.buffer)) times[seq] = (times[seq] ?? 0) + 1
  }
  const never = times.filter((count) => count === 0).length
  const often = times.filter((count) => count > 1).length
  if (never + often === 0) return []
  return [`expected each of ${tasks} tasks to run once, got ${never} never, ${often} more often`]
}

const rows = [await measure('kill -9', 'SIGKILL'), await measure('frozen', 'SIGSTOP')]
await publish(
  {
    bench: 'failover',
    columns: [
      { key: 'how', title: 'the node is' },
      { key: 'tasks', title: 'tasks that wait for it' },
      { key: 'envelopes', title: 'envelopes' },
      { key: 'beats', title: 'known as dead after, heartbeats', digits: 1 },
      { key: 'redistributedMs', title: 'then all of them with others after', unit: 'ms' },
      { key: 'doneMs', title: 'all done, since it died', unit: 'ms' },
    ],
    rows,
    notes: [
      `a heartbeat of ${heartbeatMs} ms, silence of ${beatsMax} of them is death`,
      'on one host a process that has ended is known at once, a frozen one by its silence alone',
    ],
    faults,
  },
  options,
)
