/** Too much at once, the same again and again, nodes that come and go, envelopes of others. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { envelopeVersion } from '../../actors/envelope.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { SlotKeys } from '../../runtime/redis/keys.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows } from '../kit/ledger.ts'
import type { Verdict } from '../kit/oracle.ts'
import { lasting } from '../kit/outage.ts'
import type { Random } from '../kit/random.ts'
import { startRedis } from '../kit/redis.ts'
import { Arena, effectLine, mixture, textOf } from './arena.ts'
import { also, type Row, type Trial, trial } from './row.ts'

const mebibyte = 1_048_576

/** Resident memory, bytes. */
function memoryOf(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kilobytes) * 1024
}

async function depthOf(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const lines = text.matchAll(/^muster_mailbox_depth\{[^}]*mailbox="work\.[^}]*\} (\d+)/gm)
  return [...lines].reduce((sum, [, depth]) => sum + Number(depth), 0)
}

/** The source is as fast as it can be, and the handlers are slow. */
async function slowConsumer(random: Random): Promise<Trial> {
  const depthMax = 300
  const arena = new Arena({
    env: {
      MUSTER_MAILBOX_DEPTH_MAX: String(depthMax),
      MUSTER_DISPATCHER_SPOOL_MAX: '300',
      MUSTER_DISPATCHER_WHEN_FULL: 'wait',
    },
  })
  try {
    const node = await arena.start()
    const lines = Array.from({ length: 4000 }, () => effectLine({ ms: random.integer(4, 10) }))
    const submitting = arena.submit(lines)
    let deepest = 0
    const memory: number[] = []
    const sampling = (async () => {
      while (countRows(arena.dataDir) < lines.length) {
        deepest = Math.max(deepest, await depthOf(node.url))
        memory.push(memoryOf(node.pid))
        await lasting(100)
      }
    })()
    await submitting
    const verdict = await arena.verdict({ mayRepeat: false, timeoutMs: 60_000 })
    await sampling
    const warm = Math.max(...memory.slice(0, memory.length / 2))
    const grown = Math.max(...memory) - warm
    return also(trial(verdict), [
      deepest > depthMax && `${deepest} tasks in a mailbox for ${depthMax}`,
      deepest === 0 && 'the mailbox was never seen to hold anything',
      grown > 40 * mebibyte && `memory grew by ${Math.round(grown / mebibyte)} MiB when warm`,
    ])
  } finally {
    await arena.close()
  }
}

async function duplicates(random: Random): Promise<Trial> {
  const arena = new Arena()
  try {
    await arena.start({ id: 'a' })
    await arena.start({ id: 'b' })
    const lines = mixture(random, 100)
    const headers = { 'idempotency-key': `once-${random.seed}` }
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, n) => arena.submit(lines, n % 2 === 0 ? 'a' : 'b', headers)),
    )
    const verdict = await arena.verdict({ mayRepeat: false })
    await arena.submit(lines, 'b', headers)
    const other = await arena.submit(lines.slice(1), 'a', headers).catch((error: Error) => error)
    const runs = new Set(answers.map(({ run }) => run)).size
    const isConflict = other instanceof Error && other.message.includes('409')
    return also(trial(verdict), [
      runs !== 1 && `${runs} runs under one key`,
      !isConflict && 'another body under the same key was taken',
    ])
  } finally {
    await arena.close()
  }
}

async function rolling(random: Random): Promise<Trial> {
  const redis = await startRedis()
  const arena = new Arena({ redis: redis.url })
  try {
    const ids = ['a', 'b']
    for (const id of ids) await arena.start({ id, processes: 1 })
    let up = 'a'
    let isOver = false
    let submitted = 0
    const submitter = (async () => {
      while (!isOver) {
        const lines = Array.from({ length: 20 }, () => effectLine({ ms: random.integer(5, 50) }))
        submitted += 1
        const headers = { 'idempotency-key': `k${submitted}` }
        // One that is on its way out breaks off what it has not taken yet.
        await eventually(() => arena.submit(lines, up, headers))
        await lasting(50)
      }
    })()
    const said: string[] = []
    for (let round = 0; round < 2; round += 1) {
      for (const id of ids) {
        up = ids.find((other) => other !== id) ?? ''
        // What is on its way to it is to be taken.
        await lasting(100)
        const { code, err } = await arena.node(id).kill('SIGTERM')
        said.push(err, code === 0 ? '' : `${id} ended with ${code}`)
        await arena.start({ id, processes: 1 })
      }
    }
    isOver = true
    await submitter
    const verdict = await arena.verdict({ mayRepeat: false })
    said.push(...ids.map((id) => arena.node(id).err))
    const log = readFileSync(join(arena.dataDir, 'audit', 'audit.ndjson'), 'utf8')
    const lines = log.split('\n').filter((line) => line !== '')
    const again = lines.filter((line) => (JSON.parse(line) as { attempt: number }).attempt > 1)
    return also(trial(verdict), [
      again.length > 0 && `${again.length} attempts were used up`,
      said.some((text) => text.includes('recovered from a dead worker')) && 'something stalled',
      said.find((text) => text.includes(' ended with ')),
    ])
  } finally {
    await arena.close()
    await redis.stop()
  }
}

/** An envelope of a version to come: kept as it is, and nobody else is hurt. */
async function newerVersion(random: Random): Promise<Trial> {
  const redis = await startRedis()
  const arena = new Arena({ redis: redis.url })
  const connection = new Redis(redis.path, { maxRetriesPerRequest: null })
  const queue = new Queue('work.effect', {
    connection,
    prefix: new SlotKeys().mailboxPrefix('work.effect'),
  })
  try {
    await arena.start()
    const first = random.integer(0, 50)
    const newer = { v: envelopeVersion + 1, run: 'r-newer000', kind: 'effect', sequels: [first] }
    const submitting = arena.submit(mixture(random, 100))
    await queue.add('envelope', newer, { jobId: `r-newer000.${first}+1.1`, priority: 3 })
    await submitting
    const verdict = await arena.verdict({ mayRepeat: false })
    const letters = await eventually(async () => {
      const path = '/v1/deadletters?reason=schema'
      const { items } = await arena.get<{ items: { id: string }[] }>(path)
      if (items.length !== 1) throw new Error(`${items.length} dead letters`)
      return items
    })
    const id = encodeURIComponent(letters[0]?.id ?? '')
    const whole = await arena.get<{ items: { message?: { body: unknown } }[] }>(
      `/v1/deadletters?id=${id}`,
    )
    const kept = JSON.stringify(whole.items[0]?.message?.body)
    return also(trial(verdict), [kept !== JSON.stringify(newer) && `it was kept as ${kept}`])
  } finally {
    await queue.close()
    connection.disconnect()
    await arena.close()
    await redis.stop()
  }
}

const kept = { lost: 0, doubled: 0, disorder: 0, repeats: 0, problems: [] } as const

/** Another test file is the row. */
async function testFile(file: string, tasks: number): Promise<Trial> {
  const root = join(import.meta.dir, '../..')
  const argv = [process.execPath, '--conditions=development', 'test', `./test/cluster/${file}`]
  const child = Bun.spawn(argv, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  const [said, code] = await Promise.all([new Response(child.stderr).text(), child.exited])
  const verdict: Verdict = { ...kept, tasks, problems: [] }
  return also(trial(verdict), [code !== 0 && `${file}: ${said.slice(-1500)}`])
}

/** As many as it takes to see whether anything grows; SOAK_TASKS in the environment: so many. */
async function soak(): Promise<Trial> {
  const total = Number(process.env['SOAK_TASKS'] ?? 10_000_000)
  const arena = new Arena({
    env: {
      MUSTER_DISPATCHER_WHEN_FULL: 'wait',
      MUSTER_WORKER_CONCURRENCY: '64',
      MUSTER_WORKER_ENVELOPE_TASKS_MAX: '1000',
    },
  })
  try {
    const node = await arena.start()
    const piece = textOf(
      Array.from({ length: 1000 }, () => ({
        line: '{"kind":"noop"}',
        hasEffect: false,
        ends: ['ok'],
      })),
    )
    let left = total
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (left <= 0) controller.close()
        else
          controller.enqueue(
            new TextEncoder().encode(left >= 1000 ? piece : piece.slice(0, left * 16)),
          )
        left -= 1000
      },
    })
    const headers = { 'content-type': 'application/x-ndjson' }
    const submitting = fetch(`${node.url}/v1/runs`, { method: 'POST', headers, body })
    const memory: number[] = []
    let isOver = false
    const sampling = (async () => {
      while (!isOver) {
        memory.push(memoryOf(node.pid))
        await lasting(1000)
      }
    })()
    const { run } = (await (await submitting).json()) as { run: string }
    const done = await eventually(
      async () => {
        const now = await arena.get<Run>(`/v1/runs/${run}`)
        if (now.finishedAt === undefined) throw new Error(JSON.stringify(now.counts))
        return now
      },
      { timeoutMs: 3_600_000, intervalMs: 1000 },
    )
    isOver = true
    await sampling
    const rows = countRows(arena.dataDir)
    const grown = Math.max(...memory) - Math.max(...memory.slice(0, memory.length / 4))
    const verdict: Verdict = {
      ...kept,
      tasks: total,
      lost: Math.max(0, total - Math.min(rows, done.counts.ok)),
      doubled: Math.max(0, rows - total, done.total - total),
      problems: [],
    }
    return also(trial(verdict), [
      verdict.lost > 0 && `${verdict.lost} lost`,
      verdict.doubled > 0 && `${verdict.doubled} doubled`,
      grown > 100 * mebibyte && `memory grew by ${Math.round(grown / mebibyte)} MiB when warm`,
    ])
  } finally {
    await arena.close()
  }
}

export const flow: Row[] = [
  {
    name: 'slow-consumer',
    fault: 'slow consumer: depth ≤ bound, memory flat',
    seeds: 20,
    run: slowConsumer,
  },
  {
    name: 'duplicates',
    fault: 'one submission 100 times under one key, from two nodes',
    seeds: 20,
    run: duplicates,
  },
  {
    name: 'rolling-restart',
    fault: 'rolling restart of two nodes under load, twice: no stall, no attempt used',
    seeds: 20,
    run: rolling,
  },
  {
    name: 'newer-version',
    fault: 'envelope of a newer version: parked as `schema`',
    seeds: 20,
    run: newerVersion,
  },
  {
    name: 'disk-full',
    fault: 'disk full (48 MiB tmpfs; as root)',
    seeds: 1,
    run: () => testFile('full-disk.test.ts', 30_000),
  },
  {
    name: 'redis-full',
    fault: 'Redis out of memory, `noeviction`',
    seeds: 1,
    run: () => testFile('redis-full.test.ts', 18_000),
  },
  {
    name: 'soak',
    fault: 'soak: 10 M tasks in one run',
    seeds: 1,
    onDemand: true,
    run: soak,
  },
]
