import { afterEach, describe, expect, test } from 'bun:test'
import type { Chunk } from '../../actors/ports-runs.ts'
import { type TestClock, testClock } from '../kit/clock.ts'
import { eventually } from '../kit/eventually.ts'
import { beginDispatcher, countTo, drain, sourceOf, tap } from './feed.ts'
import { finished, memoryWorld, packLimits, taskOf, type World } from './world.ts'

const worlds: World[] = []
afterEach(async () => {
  await Promise.all(worlds.splice(0).map((world) => world.close()))
})

function makeWorld(clock?: TestClock): World {
  const world = memoryWorld(clock)
  worlds.push(world)
  return world
}

const jobs = (count: number) => Array.from({ length: count }, () => taskOf('job'))
const waiting = async (world: World) => (await world.mailboxes.depth('work.job')).waiting

/** Resolves once so many lines of the only unfinished run are durable. */
function durable(world: World, lines: number) {
  return eventually(async () => {
    const [run] = await world.accounting.unfinished()
    const progress = await world.accounting.get(run ?? '')
    expect(progress?.lines).toBe(lines)
    return progress
  })
}

describe('what finds no turn', () => {
  test('is spooled after a short wait, and its submitter is let go', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const it = beginDispatcher(world, { inFlightMax: 5, patienceMs: 50 }, clock.timers)
    await it.ready()
    let told = false
    const submitted = it.submit({ source: sourceOf(jobs(10), 10) }).then((answer) => {
      told = true
      return answer
    })
    await clock.pass(49)
    expect(told).toBe(false)
    await clock.pass(1)
    const { run } = await submitted
    const progress = await world.accounting.get(run.id)
    expect([progress?.accepted, progress?.spooled, await waiting(world)]).toEqual([10, 5, 1])
  })

  test('goes out in order as tasks end, and nothing overtakes it', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 10 })
    await it.ready()
    const { seqs, complete } = await drain(world, 'work.job', 'when told')
    const feed = tap()
    const submitted = it.submit({ source: feed.source })
    feed.push(jobs(20))
    await durable(world, 20)
    // There are turns again, but the spool is not empty.
    await complete()
    feed.push(jobs(20))
    feed.end()
    const { run } = await submitted
    await eventually(async () => {
      await complete()
      expect((await world.accounting.get(run.id))?.run.state).toBe('completed')
    })
    expect(seqs()).toEqual(countTo(40))
  })

  test('goes straight to the mailboxes again once the spool is empty', async () => {
    const world = makeWorld()
    const spooled: number[] = []
    const accounting = {
      ...world.accounting,
      async commit(run: string, chunk: Chunk) {
        spooled.push(chunk.spool.length)
        await world.accounting.commit(run, chunk)
      },
    }
    const it = beginDispatcher(world, { accounting, inFlightMax: 5 })
    await it.ready()
    const feed = tap()
    const submitted = it.submit({ source: feed.source })
    feed.push(jobs(10))
    await durable(world, 10)
    await drain(world, 'work.job', 'at once')
    await eventually(async () => expect((await durable(world, 10))?.run.counts.ok).toBe(10))
    feed.push(jobs(5))
    feed.end()
    const { run } = await submitted
    expect((await finished(world, run.id)).counts.ok).toBe(15)
    expect(spooled).toEqual([1, 0])
  })

  test('waits for room in its mailbox, and is sent when there is some', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const it = beginDispatcher(world, { depthMax: 10 }, clock.timers)
    await it.ready()
    const { run } = await it.submit({ source: sourceOf(jobs(25), 25) })
    expect([await world.admission.used('work.job'), await waiting(world)]).toEqual([10, 2])
    const { complete, seqs } = await drain(world, 'work.job', 'when told')
    await clock.settle()
    expect(seqs()).toEqual(countTo(10))
    for (let round = 0; round < 3; round += 1) {
      await complete()
      await clock.settle()
      expect(await world.admission.used('work.job')).toBeLessThanOrEqual(10)
    }
    // Woken by the notice of room: no time has passed.
    expect(seqs()).toEqual(countTo(25))
    expect((await world.accounting.get(run.id))?.run.state).toBe('completed')
  })

  test('looks for room now and then, in case the notice of it was lost', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const accounting = { ...world.accounting, watch: async () => async () => {} }
    const it = beginDispatcher(world, { accounting, depthMax: 5 }, clock.timers)
    await it.ready()
    await it.submit({ source: sourceOf(jobs(10), 10) })
    const { complete, seqs } = await drain(world, 'work.job', 'when told')
    await clock.settle()
    await complete()
    await clock.pass(999)
    expect(seqs()).toEqual(countTo(5))
    await clock.pass(1)
    expect(seqs()).toEqual(countTo(10))
  })

  test('makes the source wait when the spool is full, until there is room', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world, { inFlightMax: 5, spoolMax: 10, whenFull: 'wait' })
    await it.ready()
    const { complete, seqs } = await drain(world, 'work.job', 'when told')
    const feed = tap()
    const submitted = it.submit({ source: feed.source })
    for (const size of [5, 5, 5, 5, 5]) feed.push(jobs(size))
    feed.end()
    const before = await durable(world, 15)
    expect([before?.spooled, feed.taken]).toEqual([10, 3])
    await complete()
    const after = await durable(world, 20)
    expect([after?.spooled, feed.taken]).toEqual([10, 4])
    await eventually(async () => {
      await complete()
      expect(await world.accounting.unfinished()).toEqual([])
    })
    expect((await submitted).run.total).toBe(25)
    expect(seqs()).toEqual(countTo(25))
  })

  test('of several sources never takes more room in the spool than there is', async () => {
    const world = makeWorld()
    let most = 0
    const accounting = {
      ...world.accounting,
      async commit(run: string, chunk: Chunk) {
        await world.accounting.commit(run, chunk)
        let spooled = 0
        for (const id of await world.accounting.unfinished()) {
          spooled += (await world.accounting.get(id))?.spooled ?? 0
        }
        most = Math.max(most, spooled)
      },
    }
    const limits = { inFlightMax: 5, spoolMax: 20, whenFull: 'wait' as const }
    const it = beginDispatcher(world, { accounting, ...limits })
    await it.ready()
    const submitted = Array.from({ length: 4 }, () => it.submit({ source: sourceOf(jobs(50)) }))
    const { complete, seqs } = await drain(world, 'work.job', 'when told')
    await eventually(() => expect(most).toBeGreaterThan(0))
    await eventually(async () => {
      await complete()
      expect(seqs()).toHaveLength(200)
    })
    for (const { run } of await Promise.all(submitted)) expect(run.total).toBe(50)
    expect(most).toBeLessThanOrEqual(20)
  })
})

describe('a run whose source broke off', () => {
  test('stays open, and tells its submitter why', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const feed = tap()
    const submitted = it.submit({ source: feed.source, content: 'c' })
    feed.push(jobs(5))
    feed.breakOff(new Error('the connection was lost'))
    const reason = await submitted.catch((error: unknown) => error)
    expect(String(reason)).toContain('the connection was lost')
    await drain(world, 'work.job', 'at once')
    await eventually(async () => expect((await durable(world, 5))?.run.counts.ok).toBe(5))
    const progress = await durable(world, 5)
    expect([progress?.closed, progress?.run.state]).toEqual([false, 'accepting'])
  })

  test('because an envelope could not be sent says so, while the next one waits', async () => {
    const clock = testClock()
    const world = makeWorld(clock)
    const send = () => Promise.reject(new Error('Redis is away'))
    const mailboxes = { ...world.mailboxes, send }
    const it = beginDispatcher(world, { mailboxes, inFlightMax: 5 }, clock.timers)
    await it.ready()
    const submitted = it.submit({ source: sourceOf(jobs(10), 10), content: 'c' })
    const reason = submitted.catch((error: unknown) => String(error))
    await clock.pass(5)
    expect(await reason).toContain('Redis is away')
    expect((await durable(world, 0))?.closed).toBe(false)
  })

  test('is resumed by the same content, from the first line that is not durable', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const { seqs } = await drain(world, 'work.job', 'at once')
    const feed = tap()
    const broken = it.submit({ source: feed.source, content: 'c' }).catch(() => 'broken')
    feed.push(jobs(5))
    feed.push(jobs(3))
    feed.breakOff(new Error('the connection was lost'))
    expect(await broken).toBe('broken')
    const again = tap()
    const submitted = it.submit({ source: again.source, content: 'c' })
    again.push(jobs(4))
    again.end()
    const { run, resumed } = await submitted
    expect([again.starts, resumed, run.total]).toEqual([[8], true, 12])
    expect((await finished(world, run.id)).counts.ok).toBe(12)
    expect(seqs()).toEqual(countTo(12))
  })

  test('is another run than one with other content', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const one = await it.submit({ source: sourceOf(jobs(1)), content: 'c' })
    const other = await it.submit({ source: sourceOf(jobs(1)), content: 'd' })
    const unnamed = await it.submit({ source: sourceOf(jobs(1)) })
    expect(new Set([one.run.id, other.run.id, unnamed.run.id]).size).toBe(3)
    expect([one.resumed, other.resumed, unnamed.resumed]).toEqual([false, false, false])
  })

  test('packed otherwise when it is resumed, loses nothing and counts all once', async () => {
    const world = makeWorld()
    let failures = 1
    const accounting = {
      ...world.accounting,
      async commit(run: string, chunk: Chunk) {
        // Its envelopes are in their mailboxes already.
        if (chunk.afterLine === 7 && failures > 0) {
          failures -= 1
          throw new Error('Redis is away')
        }
        await world.accounting.commit(run, chunk)
      },
    }
    const it = beginDispatcher(world, { accounting })
    await it.ready()
    const { seqs } = await drain(world, 'work.job', 'at once')
    const first = it.submit({ source: sourceOf(jobs(40), 7), content: 'c' })
    expect(await first.catch((error: unknown) => String(error))).toContain('Redis is away')
    await it.stop()
    const pack = { ...packLimits, tasksOf: () => 3 }
    const heir = beginDispatcher(world, { driver: 'n-2', pack })
    await heir.ready()
    const { run } = await heir.submit({ source: sourceOf(jobs(40), 11), content: 'c' })
    const over = await finished(world, run.id)
    expect([over.total, over.counts.ok, over.counts.pending]).toEqual([40, 40, 0])
    expect([...new Set(seqs())].toSorted((a, b) => a - b)).toEqual(countTo(40))
    expect(await world.admission.used('work.job')).toBe(0)
  })

  test('resumed while its spool is on the move, loses nothing of it', async () => {
    const world = makeWorld()
    const gate = Promise.withResolvers<void>()
    let sends = 0
    const mailboxes = {
      ...world.mailboxes,
      async send(...args: Parameters<typeof world.mailboxes.send>) {
        sends += 1
        // The second envelope is the first of the spool: its mover is caught in the act.
        if (sends === 2) await gate.promise
        await world.mailboxes.send(...args)
      },
    }
    const it = beginDispatcher(world, { mailboxes, inFlightMax: 5 })
    await it.ready()
    const { complete, seqs } = await drain(world, 'work.job', 'when told')
    const feed = tap()
    const broken = it.submit({ source: feed.source, content: 'c' }).catch(() => 'broken')
    feed.push(jobs(200))
    await durable(world, 200)
    await complete()
    await eventually(() => expect(sends).toBe(2))
    feed.breakOff(new Error('the connection was lost'))
    expect(await broken).toBe('broken')
    const submitted = it.submit({ source: sourceOf(jobs(205)), content: 'c' })
    const { run } = await submitted
    gate.resolve()
    await eventually(async () => {
      await complete()
      expect((await world.accounting.get(run.id))?.run.counts).toMatchObject({ ok: 205 })
    })
    expect((await finished(world, run.id)).total).toBe(205)
    expect([...new Set(seqs())].toSorted((a, b) => a - b)).toEqual(countTo(205))
  })
})

describe('the same content, submitted again while it is read', () => {
  test('joins the run, and its own source is left unread', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const first = tap()
    const second = tap()
    const one = it.submit({ source: first.source, content: 'c' })
    first.push(jobs(5))
    await durable(world, 5)
    let told = false
    const other = it.submit({ source: second.source, content: 'c' }).then((answer) => {
      told = true
      return answer
    })
    first.push(jobs(2))
    await durable(world, 7)
    expect(told).toBe(false)
    first.end()
    const [{ run }, joined] = await Promise.all([one, other])
    expect([joined.run.id, joined.resumed, joined.run.total]).toEqual([run.id, true, 7])
    expect(second.starts).toEqual([])
    const { seqs } = await drain(world, 'work.job', 'at once')
    await finished(world, run.id)
    expect(seqs()).toEqual(countTo(7))
  })

  test('twice at once, it is one run that reads one source', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const { seqs } = await drain(world, 'work.job', 'at once')
    const answers = await Promise.all(
      [1, 2, 3].map(() => it.submit({ source: sourceOf(jobs(30)), content: 'c' })),
    )
    expect(new Set(answers.map(({ run }) => run.id)).size).toBe(1)
    const [{ run }] = answers as [(typeof answers)[number]]
    expect((await finished(world, run.id)).counts.ok).toBe(30)
    expect(seqs()).toEqual(countTo(30))
  })

  test('twice at once after it broke off, it is still one run that reads one source', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    const feed = tap()
    const broken = it.submit({ source: feed.source, content: 'c' }).catch(() => 'broken')
    feed.push(jobs(3))
    feed.breakOff(new Error('the connection was lost'))
    expect(await broken).toBe('broken')
    const again = [tap(), tap(), tap()]
    const submitted = again.map((one) => it.submit({ source: one.source, content: 'c' }))
    for (const one of again) {
      one.push(jobs(4))
      one.end()
    }
    const answers = await Promise.all(submitted)
    expect(answers.map(({ run }) => run.total)).toEqual([7, 7, 7])
    expect(again.flatMap(({ starts }) => starts)).toEqual([3])
    const { seqs } = await drain(world, 'work.job', 'at once')
    await eventually(async () => expect(await world.accounting.unfinished()).toEqual([]))
    expect(seqs()).toEqual(countTo(7))
  })

  test('a finished run is not resumed: the same content is a new one', async () => {
    const world = makeWorld()
    const it = beginDispatcher(world)
    await it.ready()
    await drain(world, 'work.job', 'at once')
    const first = await it.submit({ source: sourceOf(jobs(3)), content: 'c' })
    await finished(world, first.run.id)
    const second = await it.submit({ source: sourceOf(jobs(3)), content: 'c' })
    expect(second.resumed).toBe(false)
    expect(second.run.id).not.toBe(first.run.id)
  })
})
