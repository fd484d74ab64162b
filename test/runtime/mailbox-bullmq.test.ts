/** What BullMQ mailboxes promise when processes, locks and Redis itself are lost. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import type { Delivery, Log, Mailboxes } from '../../actors/ports.ts'
import { type BullMailboxes, bullMailboxes } from '../../runtime/mailbox/bullmq.ts'
import { redisClient } from '../../runtime/redis/client.ts'
import { keys, SlotKeys } from '../../runtime/redis/keys.ts'
import { idsOf, message, messages } from '../conformance/mailboxes.ts'
import { eventually } from '../kit/eventually.ts'
import { isAlive } from '../kit/processes.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const mailboxPrefix = new SlotKeys().mailboxPrefix('work.a')

const lockMs = 1000
const stalledIntervalMs = 500
const together = { concurrency: 4, ordered: false }
const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }

let server: RedisServer
let redis: Redis
let mailboxes: BullMailboxes
const opened: Mailboxes[] = []
const children: Bun.Subprocess[] = []

const open = (onHolder?: (holder: string) => void): BullMailboxes => {
  const made = bullMailboxes({
    ...(onHolder === undefined ? {} : { onHolder }),
    connect: (name, kind) => redisClient(server.url, { name, kind }, { log: quiet }) as Redis,
    lockMs,
    stalledIntervalMs,
    giveBackAfterMs: 20,
    log: quiet,
  })
  opened.push(made)
  return made
}

beforeAll(async () => {
  server = await startRedis({ appendfsync: 'always' })
  redis = redisClient(server.url, { name: 'test', kind: 'command' }, { log: quiet }) as Redis
})
beforeEach(async () => {
  await redis.flushall()
  mailboxes = open()
})
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL')
    await child.exited
  }
  await Promise.all(opened.splice(0).map((each) => each.close()))
})
afterAll(async () => {
  redis.disconnect()
  await server.stop()
})

/** Receives until told to let the messages end. */
async function receiveHeld(from: Mailboxes, mailbox: string) {
  const seen: Delivery[] = []
  const finish = Promise.withResolvers<void>()
  await from.receive(mailbox, together, async (delivery) => {
    seen.push(delivery)
    await Promise.race([finish.promise, once(delivery.signal, 'abort')])
  })
  return { seen, finish: finish.resolve }
}

const isEmpty = (mailbox: string, timeoutMs = 5000) =>
  eventually(
    async () => {
      expect(await mailboxes.depth(mailbox)).toEqual({ waiting: 0, active: 0, delayed: 0 })
    },
    { timeoutMs },
  )

/** Starts mailbox-receiver.ts; `says` waits for a line of it. */
async function startReceiver(mailbox: string) {
  const script = join(import.meta.dir, 'mailbox-receiver.ts')
  const child = Bun.spawn(
    [process.execPath, script, server.url, mailbox, String(lockMs), String(stalledIntervalMs)],
    { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' },
  )
  children.push(child)
  let output = ''
  void child.stdout.pipeTo(
    new WritableStream({
      write: (chunk) => {
        output += Buffer.from(chunk).toString()
      },
    }),
  )
  const says = (line: string) =>
    eventually(() => expect(output.split('\n')).toContain(line), { timeoutMs: 10_000 })
  await says('receiving')
  return { child, says }
}

test('what a killed process held is given back at once, if nobody else is there', async () => {
  const { child, says } = await startReceiver('work.a')
  await mailboxes.send([message('work.a', 'one')])
  await says('got one')
  child.kill('SIGKILL')
  await child.exited
  expect(await mailboxes.reclaimAbandoned(() => Promise.resolve(false))).toBe(0)
  expect(await mailboxes.depth('work.a')).toEqual({ waiting: 0, active: 1, delayed: 0 })
  expect(await mailboxes.reclaimAbandoned(() => Promise.resolve(true))).toBe(1)
  expect(await mailboxes.depth('work.a')).toEqual({ waiting: 1, active: 0, delayed: 0 })
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  await eventually(() => expect(idsOf(seen)).toEqual(['one']))
  expect(seen[0]?.redeliveries).toBe(1)
  finish()
  await isEmpty('work.a')
})

test('the name under which messages are held is told before the first is taken', async () => {
  const told: string[] = []
  await mailboxes.send([message('work.told', 'one')])
  const receiving = open((holder) => told.push(holder))
  const toldThen: string[][] = []
  await receiving.receive('work.told', together, async () => {
    toldThen.push([...told])
  })
  await isEmpty('work.told')
  expect(toldThen).toEqual([receiving.holders()])
})

test('the message of a killed process is delivered again, soon, with its notes', async () => {
  const { child, says } = await startReceiver('work.a')
  await mailboxes.send([message('work.a', 'one')])
  await says('got one')
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  child.kill('SIGKILL')
  const before = performance.now()
  await eventually(() => expect(idsOf(seen)).toEqual(['one']))
  expect(performance.now() - before).toBeLessThan(lockMs + 2 * stalledIntervalMs + 3000)
  expect(seen[0]?.redeliveries).toBeGreaterThanOrEqual(1)
  expect(await seen[0]?.notes()).toEqual({ seenBy: String(child.pid) })
  finish()
  await isEmpty('work.a')
  await eventually(async () => expect(await redis.keys('*:notes:*')).toEqual([]))
})

test('a process that slept through its lock cannot acknowledge', async () => {
  const { child, says } = await startReceiver('work.a')
  await mailboxes.send([message('work.a', 'one')])
  await says('got one')
  child.kill('SIGSTOP')
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  await eventually(() => expect(idsOf(seen)).toEqual(['one']))
  await child.stdin.write('go on\n')
  await child.stdin.flush()
  child.kill('SIGCONT')
  await Promise.any([says('done one'), says('lost one')])
  // Its refused acknowledgement is answered before the next thing it asks for.
  child.kill('SIGTERM')
  await says('closed')
  expect(await mailboxes.depth('work.a')).toEqual({ waiting: 0, active: 1, delayed: 0 })
  expect(seen[0]?.signal.aborted).toBe(false)
  finish()
  await isEmpty('work.a')
  expect(idsOf(seen)).toEqual(['one'])
})

test('a delivery hears of its lost lock, and the message is delivered again', async () => {
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  await mailboxes.send([message('work.a', 'one')])
  await eventually(() => expect(seen.length).toBe(1))
  await redis.del(`${mailboxPrefix}:work.a:one:lock`)
  await eventually(() => expect(seen[0]?.signal.aborted).toBe(true), { timeoutMs: 10 * lockMs })
  await eventually(() => expect(seen.length).toBe(2))
  expect(seen[1]?.redeliveries).toBe(1)
  expect(seen[1]?.signal.aborted).toBe(false)
  finish()
  await isEmpty('work.a')
})

test('whoever has lost the lock can note nothing, and knows it before Redis says so', async () => {
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  await mailboxes.send([message('work.a', 'one')])
  await eventually(() => expect(idsOf(seen)).toEqual(['one']))
  await seen[0]?.note({ first: '1' })
  // Taken from it, as if it had stood still.
  const lock = `${mailboxPrefix}:work.a:one:lock`
  await redis.set(lock, 'of another', 'KEEPTTL')
  const refused = await seen[0]?.note({ second: '2' }).catch((error: unknown) => error)
  expect(refused).toMatchObject({ message: 'the lock on the message was lost' })
  expect(seen[0]?.signal.aborted).toBe(true)
  expect(await seen[0]?.notes()).toEqual({ first: '1' })
  await redis.del(lock)
  // Nobody has it: what was noted can be taken back, and nothing be added.
  expect(await seen[0]?.note({ third: '3' }).catch(() => 'refused')).toBe('refused')
  await seen[0]?.note({ first: '' })
  await eventually(() => expect(seen.length).toBe(2), { timeoutMs: 20 * lockMs })
  await seen[1]?.note({ second: '2' })
  expect(await seen[1]?.notes()).toEqual({ first: '', second: '2' })
  // Nobody can renew anything: when its time is up, the message may be somebody else's.
  const frozenAt = performance.now()
  process.kill(server.pid, 'SIGSTOP')
  try {
    expect(seen[1]?.signal.aborted).toBe(false)
    await eventually(() => expect(seen[1]?.signal.aborted).toBe(true), { timeoutMs: 10 * lockMs })
    expect(performance.now() - frozenAt).toBeLessThan(lockMs + 1500)
  } finally {
    process.kill(server.pid, 'SIGCONT')
  }
  finish()
  await isEmpty('work.a', 20 * lockMs)
})

test('a lock is renewed for as long as a message is at hand', async () => {
  const { seen, finish } = await receiveHeld(mailboxes, 'work.a')
  const other = await receiveHeld(open(), 'work.a')
  await mailboxes.send([message('work.a', 'one')])
  const ttl = () => redis.pttl(`${mailboxPrefix}:work.a:one:lock`)
  await eventually(async () => expect(await ttl()).toBeGreaterThan(0))
  for (let renewals = 0, last = await ttl(); renewals < 4; ) {
    await eventually(async () => {
      const now = await ttl()
      const renewed = now > last
      last = now
      expect(renewed).toBe(true)
    })
    renewals += 1
  }
  expect(seen.length + other.seen.length).toBe(1)
  expect([...seen, ...other.seen][0]?.signal.aborted).toBe(false)
  finish()
  other.finish()
  await isEmpty('work.a')
})

test('receivers, idle or busy, outlive a Redis that is killed and comes back', async () => {
  const busy = await receiveHeld(mailboxes, 'work.busy')
  const idle = await receiveHeld(mailboxes, 'work.idle')
  idle.finish()
  const told: string[] = []
  await mailboxes.send(messages('work.busy', 6))
  await mailboxes.onNew((mailbox) => told.push(mailbox))
  await eventually(() => expect(busy.seen.length).toBe(4))
  await server.kill()
  const sending = mailboxes.send(messages('work.idle', 10))
  const elsewhere = open().send([message('work.new', 'one')])
  await server.restart()
  await Promise.all([sending, elsewhere])
  await isEmpty('work.idle', 15_000)
  expect(new Set(idsOf(idle.seen))).toEqual(new Set(idsOf(messages('work.idle', 10))))
  await eventually(() => expect(told.toSorted()).toEqual(['work.idle', 'work.new']))
  busy.finish()
  await isEmpty('work.busy', 15_000)
  expect(new Set(idsOf(busy.seen))).toEqual(new Set(idsOf(messages('work.busy', 6))))
})

test('a receiver outlives many short losses of its connections', async () => {
  const times = new Map<string, number>()
  await mailboxes.receive('work.a', together, async ({ id }) => {
    times.set(id, (times.get(id) ?? 0) + 1)
  })
  const sent = messages('work.a', 100)
  for (let first = 0; first < sent.length; first += 10) {
    const sending = mailboxes.send(sent.slice(first, first + 10))
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await sending
  }
  await eventually(() => expect(times.size).toBe(sent.length))
  await isEmpty('work.a', 15_000)
})

test('closing ends while Redis is away, and leaves no connection behind', async () => {
  const { child, says } = await startReceiver('work.a')
  await mailboxes.send([message('work.a', 'one')])
  await says('got one')
  const { seen } = await receiveHeld(mailboxes, 'work.b')
  await mailboxes.send([message('work.b', 'one')])
  await eventually(() => expect(seen.length).toBe(1))
  await server.kill()
  const before = performance.now()
  child.kill('SIGTERM')
  await mailboxes.close()
  expect(performance.now() - before).toBeLessThan(5000)
  await says('closed')
  await eventually(() => expect(isAlive(child.pid)).toBe(false))
  await server.restart()
  await eventually(async () => expect(await redis.ping()).toBe('PONG'))
  const clients = String(await redis.client('LIST'))
    .trim()
    .split('\n')
  expect(clients.filter((line) => !line.includes('name=muster:test '))).toEqual([])
  mailboxes = open()
  const again = await receiveHeld(mailboxes, 'work.b')
  await eventually(() => expect(idsOf(again.seen)).toEqual(['one']))
})

test('a mailbox its first sender was killed over is told of by the next', async () => {
  const told: string[] = []
  await mailboxes.onNew((mailbox) => told.push(mailbox))
  // Recorded, and then the sender died.
  await redis.sadd(keys.mailboxes, 'work.a')
  await open().send([message('work.a', 'one')])
  await eventually(() => expect(told).toEqual(['work.a']))
})

test('receivers that wait in vain wake up together, whenever they began', async () => {
  const watcher = await redis.monitor()
  const waits: { at: number; seconds: number }[] = []
  watcher.on('monitor', (at: string, [command, , seconds]: string[]) => {
    if (command === 'bzpopmin') waits.push({ at: Number(at), seconds: Number(seconds) })
  })
  try {
    for (const name of ['work.a', 'work.b', 'work.c']) {
      const before = waits.length
      await mailboxes.receive(name, together, async () => {})
      await eventually(() => expect(waits.length).toBeGreaterThan(before))
    }
    // Five seconds from any moment would be the same for all, and end at another one for each.
    expect(waits.map(({ seconds }) => seconds)).not.toContain(5)
    const ends = waits.map(({ at, seconds }) => (at + seconds - performance.timeOrigin / 1000) / 5)
    const apart = ends.map((periods) => Math.abs(periods - Math.round(periods)))
    // A command is a moment under way.
    expect(Math.max(...apart)).toBeLessThan(0.4 / 5)
  } finally {
    watcher.disconnect()
  }
})
