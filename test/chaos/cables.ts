/** Replies that are lost, and workers that are cut off from Redis or stand still. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readEffects } from '../kit/oracle.ts'
import { lasting } from '../kit/outage.ts'
import { type RedisProxy, startProxy, type Where } from '../kit/proxy.ts'
import type { Random } from '../kit/random.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { Arena, effectLine, type Line, mixture, shortLocks } from './arena.ts'
import { also, type Row, someTime, type Trial, trial } from './row.ts'

type Fits = (words: readonly string[]) => boolean

const scripts = join(import.meta.dir, '../../runtime/redis/scripts')
const isCall = (words: readonly string[]) => words[0] === 'evalsha' || words[0] === 'eval'

/** One of our scripts. */
function script(name: string): Fits {
  const source = readFileSync(join(scripts, `${name}.lua`), 'utf8')
  const sha = createHash('sha1').update(source).digest('hex')
  return (words) => words[0] === 'evalsha' && words[1] === sha
}

/** A script of BullMQ on a mailbox, told by what it says. */
const bull =
  (mailbox: string, says: string): Fits =>
  (words) =>
    isCall(words) &&
    words.some((word) => word.includes(`:${mailbox}`)) &&
    words.some((word) => word.includes(says))

const replies: Record<string, Fits> = {
  'add (work)': bull('work.', 'envelope'),
  'add (results)': bull('results', 'envelope'),
  'ack (work)': bull('work.', 'completed'),
  'ack (results)': bull('results', 'completed'),
  'account (settle)': script('settle'),
  'stored (finish)': script('finish'),
  commit: script('commit'),
  reserve: script('reserve'),
  open: script('open'),
}

interface Cabled {
  redis: RedisServer
  proxy: RedisProxy
  arena: Arena
}

async function withCable(
  env: Record<string, string>,
  work: (cabled: Cabled) => Promise<Trial>,
): Promise<Trial> {
  const redis = await startRedis()
  const proxy = await startProxy(redis.path)
  const arena = new Arena({ redis: redis.url, env })
  try {
    return await work({ redis, proxy, arena })
  } finally {
    await arena.close()
    await proxy.stop()
    await redis.stop()
  }
}

function lostReply(random: Random, name: string): Promise<Trial> {
  // What was given to a worker that never heard of it comes back when its lock has ended.
  const locks = { MUSTER_MAILBOX_LOCK_MS: '4000', MUSTER_MAILBOX_STALLED_INTERVAL_MS: '500' }
  return withCable(locks, async ({ proxy, arena }) => {
    await arena.start({ env: { MUSTER_REDIS_URL: proxy.url } })
    let left = random.integer(1, 4)
    let at: number | undefined
    void proxy
      .loseReply((words) => {
        if (replies[name]?.(words) === true) left -= 1
        return left === 0
      })
      .then(() => {
        at = Date.now()
      })
    const lines = mixture(random, 150)
    const key = () => ({ 'idempotency-key': `k${random.integer(0, 1e9)}` })
    for (let part = 0; part < 5; part += 1) {
      await arena.submit(lines.slice(part * 30, part * 30 + 30), 'a', key())
    }
    // Nobody was lost who might have run anything: each attempt is run once.
    const verdict = await arena.verdict({ mayRepeat: false })
    return also(trial(verdict, at === undefined ? [] : [Date.now() - at]), [
      at === undefined && `there was no ${name} to lose the reply of`,
    ])
  })
}

/** Keys above all: those who are cut off may still think that it is their turn. */
function keyed(random: Random): Line[] {
  return Array.from({ length: 240 }, () => {
    // Some envelopes take longer than the lock: it ends while they are being worked off.
    const ms = random.chance(0.3) ? random.integer(100, 300) : random.integer(5, 30)
    if (random.chance(0.2)) return effectLine({ ms }, { once: true })
    return random.chance(0.5)
      ? effectLine({ ms }, { key: `k${random.integer(1, 4)}` })
      : effectLine({ ms })
  })
}

/** Of `shortLocks`. */
const lockMs = 1000

function partition(random: Random, where: Where): Promise<Trial> {
  return withCable(shortLocks, async ({ proxy, arena }) => {
    await arena.start({ id: 'a' })
    await arena.start({
      id: 'w',
      words: ['--role', 'worker'],
      env: { MUSTER_REDIS_URL: proxy.url },
    })
    await arena.submit(keyed(random))
    await someTime(random, 50, 400)
    const heal = proxy.hold(where)
    const at = Date.now()
    await lasting(lockMs * random.integer(2, 5))
    heal()
    const verdict = await arena.verdict({ mayRepeat: true })
    return trial(verdict, [Date.now() - at])
  })
}

/** Stands still until its work is somebody else's, and wakes up with it at hand. */
function zombie(random: Random): Promise<Trial> {
  return withCable(shortLocks, async ({ arena }) => {
    await arena.start({ id: 'a' })
    const other = await arena.start({ id: 'w', words: ['--role', 'worker'] })
    await arena.submit(keyed(random))
    await someTime(random, 50, 400)
    process.kill(other.pid, 'SIGSTOP')
    const at = Date.now()
    await lasting(lockMs * 3)
    process.kill(other.pid, 'SIGCONT')
    const wokeAt = Date.now()
    await lasting(500)
    // What it was in the middle of when it froze goes on; nobody can take that back. It begins no
    // more of what is not its own: its eight places are all that may be in use.
    const verdict = await arena.verdict({ mayRepeat: true })
    const effects = readEffects(arena.effects)
    const ended = new Map(effects.filter(({ at: of }) => of < wokeAt).map((e) => [e.seq, e.pid]))
    const late = effects.filter(
      ({ pid, at: of, seq }) =>
        pid === other.pid && of >= wokeAt && ended.has(seq) && ended.get(seq) !== pid,
    )
    return also(trial(verdict, [Date.now() - at]), [
      late.length > 8 && `it began ${late.length} tasks that others had done`,
    ])
  })
}

/** With the default lock of 15 s, looked after every 5 s: how long it takes at worst. */
function stalled(random: Random): Promise<Trial> {
  return withCable({}, async ({ arena }) => {
    await arena.start({ id: 'a' })
    const other = await arena.start({ id: 'w', words: ['--role', 'worker'] })
    await arena.submit(keyed(random))
    await someTime(random, 50, 400)
    process.kill(other.pid, 'SIGSTOP')
    const at = Date.now()
    const verdict = await arena.verdict({ mayRepeat: true, timeoutMs: 60_000 })
    const ms = Date.now() - at
    process.kill(other.pid, 'SIGKILL')
    return also(trial(verdict, [ms]), [ms > 27_000 && `${ms} ms: more than 15 s + 2 × 5 s`])
  })
}

const names = Object.keys(replies)

export const cables: Row[] = [
  {
    name: 'lost-reply',
    fault: `one reply lost: ${names.join(', ')}`,
    seeds: names.length * 3,
    run: (random, index) => lostReply(random, names[index % names.length] ?? ''),
  },
  ...(
    [
      ['to-redis', 'from a worker to Redis', { direction: 'toRedis' }],
      ['from-redis', 'from Redis to a worker', { direction: 'toClient' }],
      ['full', 'both ways', {}],
    ] as const
  ).map(
    ([name, words, where]): Row => ({
      name: `partition-${name}`,
      fault: `partition ${words}, 2 to 5 locks long`,
      seeds: 20,
      atOnce: 2,
      run: (random) => partition(random, where),
    }),
  ),
  {
    name: 'zombie',
    fault: 'worker node stopped (SIGSTOP) for 3 locks, then SIGCONT',
    seeds: 20,
    atOnce: 2,
    run: zombie,
  },
  {
    name: 'stalled',
    fault: 'worker node frozen for good; lock 15 s, looked after every 5 s (defaults)',
    seeds: 20,
    atOnce: 5,
    run: stalled,
  },
]
