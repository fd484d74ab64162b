/** Envelopes whose tasks take differently long: nobody waits for the slowest of his neighbours. */
import { afterEach, describe, expect, test } from 'bun:test'
import { type Envelope, eachSeq, type ResultsEnvelope } from '../../actors/envelope.ts'
import type { Delivery, Execution } from '../../actors/ports.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginWorker, jobs } from './working.ts'
import { type Begun, dispatch, failed, kindOf, memoryWorld, ok, type World } from './world.ts'

const worlds: World[] = []
afterEach(() => {
  for (const world of worlds.splice(0)) void world.close()
})

interface Shop {
  world: World
  clock: TestClock
  worker: Begun
  bodies: ResultsEnvelope[]
  starts: number[]
  /** Seqs of which results were sent, message by message. */
  sent(): number[][]
}

/** A worker that runs each task for so many ms, of test time. */
async function openShop(
  tasks: number,
  msOf: (seq: number) => number,
  ends: (seq: number) => Execution = () => ok,
): Promise<Shop> {
  const clock = testClock()
  const world = memoryWorld(clock)
  worlds.push(world)
  const starts: number[] = []
  const kind = kindOf(
    'job',
    async (_, { seq, signal }) => {
      starts.push(seq)
      await clock.wait(msOf(seq), signal)
      return ends(seq)
    },
    { concurrency: 64, limitMs: () => 10_000_000 },
  )
  const bodies = await world.settled()
  await dispatch(world, 'r-1', jobs(tasks))
  const worker = beginWorker(world, kind)
  await clock.settle()
  const sent = () => bodies.map(({ seqs }) => [...eachSeq(seqs)])
  return { world, clock, worker, bodies, starts, sent }
}

const hourMs = 3_600_000

describe('an envelope with one slow task', () => {
  test('has the others settled after half a second, and the slow one when it ends', async () => {
    const { clock, sent } = await openShop(5, (seq) => (seq === 2 ? hourMs : 10))
    await clock.pass(400)
    expect(sent()).toEqual([])
    await clock.pass(200)
    expect(sent()).toEqual([[0, 1, 3, 4]])
    await clock.pass(hourMs)
    expect(sent()).toEqual([[0, 1, 3, 4], [2]])
  })

  test('is settled in one message when all of them are quick', async () => {
    const { clock, sent, bodies } = await openShop(20, (seq) => seq)
    await clock.pass(50)
    expect(sent()).toEqual([Array.from({ length: 20 }, (_, seq) => seq)])
    expect(bodies[0]?.outcomes).toBe('1'.repeat(20))
  })

  test('sends what ends within half a second together', async () => {
    const times = [10, 300, 700, 900, 5000]
    const { clock, sent } = await openShop(5, (seq) => times[seq] ?? 0)
    await clock.pass(10_000)
    expect(sent()).toEqual([[0, 1], [2, 3], [4]])
  })

  test('has its failures tried again without waiting for it', async () => {
    const { world, clock, starts } = await openShop(
      3,
      (seq) => (seq === 0 ? hourMs : 10),
      (seq) => (seq === 1 ? failed : ok),
    )
    await clock.pass(600)
    // Its delay, a millisecond, is of the real time.
    await eventually(async () => {
      await clock.settle()
      expect(starts).toEqual([0, 1, 2, 1])
    })
    expect((await world.mailboxes.depth('work.job')).active).toBeGreaterThan(0)
  })
})

describe('delivered again after some of it was settled', () => {
  test('runs what was not, and nothing else, though nothing of it is counted yet', async () => {
    const shop = await openShop(5, (seq) => (seq === 3 ? hourMs : 10))
    await shop.clock.pass(1000)
    expect(shop.sent()).toEqual([[0, 1, 2, 4]])
    await shop.world.kill()
    await shop.worker.stop()
    const again: number[] = []
    const kind = kindOf('job', (_, { seq }) => {
      again.push(seq)
      return ok
    })
    beginWorker(shop.world, kind, { worker: 'another' })
    await eventually(async () => {
      await shop.clock.pass(1000)
      expect(shop.sent()).toEqual([[0, 1, 2, 4], [3]])
    })
    expect(again).toEqual([3])
  })

  test('runs again what was sent and not noted: the accounts know the first of two', async () => {
    const clock = testClock()
    const world = memoryWorld(clock)
    worlds.push(world)
    const { receive } = world.mailboxes
    let notes = 0
    // Killed between the sending and the note.
    world.mailboxes.receive = (mailbox, options, handle) => {
      const note: Delivery['note'] = () => {
        notes += 1
        return new Promise(() => undefined)
      }
      return receive(mailbox, options, (delivery) =>
        handle(mailbox === 'work.job' && notes === 0 ? { ...delivery, note } : delivery),
      )
    }
    const bodies = await world.settled()
    const starts: number[] = []
    let isSlow = true
    const kind = kindOf('job', async (_, { seq }) => {
      starts.push(seq)
      await clock.wait(seq === 1 && isSlow ? hourMs : 10)
      return ok
    })
    const [envelope] = (await dispatch(world, 'r-1', jobs(2))) as [Envelope]
    expect(envelope.tasks.length).toBe(2)
    beginWorker(world, kind)
    await clock.pass(1000)
    expect([notes, bodies.length]).toEqual([1, 1])
    isSlow = false
    await world.kill()
    beginWorker(world, kind, { worker: 'another' })
    await eventually(async () => {
      await clock.pass(1000)
      const seqs = bodies.flatMap((body) => [...eachSeq(body.seqs)])
      expect(seqs.toSorted((a, b) => a - b)).toEqual([0, 0, 1])
    })
    expect(starts.toSorted((a, b) => a - b)).toEqual([0, 0, 1, 1])
    const [first, second] = bodies
    const settle = (body: ResultsEnvelope | undefined) => {
      const { run, mailbox, seqs = [], outcomes = '' } = body ?? { run: 'r-1', mailbox: '' }
      const ends = Array.from(outcomes, () => 'ok' as const)
      return world.accounting.settle([{ run, id: outcomes, mailbox, seqs, outcomes: ends }])
    }
    expect((await settle(first))[0]?.fresh).toBe(1)
    expect((await settle(second))[0]?.fresh).toBe(1)
  })
})
