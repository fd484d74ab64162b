/** A Redis that is killed, frozen, away, or comes back with nothing. */
import { Redis } from 'ioredis'
import { eventually } from '../kit/eventually.ts'
import { readLedger } from '../kit/ledger.ts'
import { embeddedPid } from '../kit/muster.ts'
import { readEffects } from '../kit/oracle.ts'
import { lasting } from '../kit/outage.ts'
import { isAlive } from '../kit/processes.ts'
import type { Random } from '../kit/random.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { Arena, effectLine, mixture } from './arena.ts'
import { also, type Row, someTime, type Trial, trial } from './row.ts'

/** Runs are submitted all the time, each accepted or not; what was accepted has to be done. */
async function killed(random: Random, durability: string): Promise<Trial> {
  const arena = new Arena({
    env: { MUSTER_REDIS_DURABILITY: durability, MUSTER_DISPATCHER_WHEN_FULL: 'wait' },
  })
  try {
    await arena.start()
    let isOver = false
    let tries = 0
    const submitter = async () => {
      while (!isOver) {
        tries += 1
        const headers = { 'idempotency-key': `k${tries}` }
        const lines = mixture(random, 40)
        // The same again until it is accepted: a lost answer must not cost or double anything.
        await eventually(() => arena.submit(lines, 'a', headers))
      }
    }
    const submitters = [submitter(), submitter()]
    await someTime(random, 100, 1200)
    const pid = embeddedPid(arena.dataDir)
    process.kill(pid, 'SIGKILL')
    const at = Date.now()
    await eventually(() => {
      if (isAlive(pid) || !isAlive(embeddedPid(arena.dataDir))) throw new Error('still away')
    })
    await someTime(random, 100, 600)
    isOver = true
    await Promise.all(submitters)
    const verdict = await arena.verdict({ mayRepeat: true })
    return trial(verdict, [Date.now() - at])
  } finally {
    await arena.close()
  }
}

const outages: Record<string, (redis: RedisServer) => Promise<() => Promise<void>>> = {
  frozen: async ({ pid }) => {
    process.kill(pid, 'SIGSTOP')
    return async () => void process.kill(pid, 'SIGCONT')
  },
  away: async (redis) => {
    await redis.kill()
    return () => redis.restart()
  },
}

async function outage(random: Random, kind: 'frozen' | 'away', ms: number): Promise<Trial> {
  const redis = await startRedis({ appendfsync: 'always' })
  const arena = new Arena({ redis: redis.url })
  try {
    const node = await arena.start({ processes: random.integer(0, 1) * 2 })
    const long = Array.from({ length: 10 }, () => effectLine({ ms: 2000 }, { timeoutMs: 20_000 }))
    await arena.submit([...mixture(random, 300), ...long])
    await someTime(random, 50, 400)
    const end = await outages[kind]?.(redis)
    await lasting(ms)
    await end?.()
    const at = Date.now()
    const verdict = await arena.verdict({ mayRepeat: true, timeoutMs: 60_000 })
    return also(trial(verdict, [Date.now() - at]), [!isAlive(node.pid) && 'the node gave up'])
  } finally {
    await arena.close()
    await redis.stop()
  }
}

/** What was accepted is gone: nothing may be made up about it, and somebody has to say so. */
async function emptied(random: Random): Promise<Trial> {
  const redis = await startRedis()
  const arena = new Arena({ redis: redis.url })
  const direct = new Redis(redis.path)
  try {
    const node = await arena.start()
    const lines = Array.from({ length: 300 }, () => effectLine({ ms: random.integer(5, 30) }))
    const { run } = await arena.submit(lines)
    await someTime(random, 50, 400)
    const watching = arena.command(['watch', run])
    await direct.flushall()
    await redis.kill()
    await redis.restart()
    const at = Date.now()
    // New work is to be done as ever.
    const next = await eventually(() => arena.submit(mixture(random, 50)), { timeoutMs: 30_000 })
    await eventually(
      async () => {
        const { state } = await arena.run(next.run)
        if (state !== 'completed') throw new Error(`the next run is ${state}`)
      },
      { timeoutMs: 60_000 },
    )
    const ms = Date.now() - at
    const shown = await arena.run(run).catch((error: Error) => error)
    const { rows } = readLedger(arena.dataDir, run)
    const ran = new Set(
      readEffects(arena.effects)
        .filter((effect) => effect.run === run)
        .map(({ seq }) => seq),
    )
    const invented = rows.filter(({ seq }) => !ran.has(seq)).length
    const state = shown instanceof Error ? shown.message : shown.state
    // Whoever waits for it has to hear that there is nothing to wait for.
    const watched = await Promise.race([watching.ended, lasting(15_000)])
    const empty = { tasks: 350, lost: 0, doubled: 0, disorder: 0, repeats: 0, problems: [] }
    return also(trial(empty, [ms]), [
      invented > 0 && `${invented} results of tasks that never ran`,
      state === 'completed' && rows.length < lines.length && 'a run that is lost is completed',
      !isAlive(node.pid) && 'the node gave up',
      rows.length < lines.length &&
        !node.err.includes('is gone: Redis has lost') &&
        `nobody said so: ${node.err.slice(-600)}`,
      watched === undefined && 'who watches it waits for ever',
      watched?.code === 0 && 'who watched it was told that all is well',
    ])
  } finally {
    direct.disconnect()
    await arena.close()
    await redis.stop()
  }
}

export const redisRows: Row[] = [
  ...['everysec', 'always'].map(
    (durability): Row => ({
      name: `redis-killed-${durability}`,
      fault: `kill -9 of Redis under load, \`${durability}\``,
      seeds: 20,
      run: (random) => killed(random, durability),
    }),
  ),
  {
    name: 'redis-frozen',
    fault: 'Redis frozen for 20 s',
    seeds: 4,
    atOnce: 4,
    run: (random) => outage(random, 'frozen', 20_000),
  },
  {
    name: 'redis-away',
    fault: 'Redis away for 60 s',
    seeds: 4,
    atOnce: 4,
    run: (random) => outage(random, 'away', 60_000),
  },
  {
    name: 'redis-emptied',
    fault: 'Redis comes back empty (nothing invented, and said so)',
    seeds: 20,
    run: emptied,
  },
]
