/** What the console is told: who looks, how fast things go, results that are folded. */
import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { UnavailableError } from '../../actors/errors.ts'
import type { ResultQuery } from '../../actors/ports.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { noCounts, type Outcome, outcomes } from '../../machines/outcome.ts'
import { systemClock } from '../../runtime/clock.ts'
import { Rates } from '../../runtime/http/console/rates.ts'
import { Viewers } from '../../runtime/http/console/viewers.ts'
import { foldedResults } from '../../runtime/http/folded.ts'
import { Telemetry } from '../../runtime/telemetry/telemetry.ts'
import { eventually } from '../kit/eventually.ts'
import { testSeed } from '../kit/random.ts'
import { rawClient } from '../kit/socket.ts'

const never = new AbortController().signal

async function textOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(stream).text()
}

describe('viewers', () => {
  test('each is told everything from when he came, in order', async () => {
    const viewers = new Viewers(() => {})
    const first = viewers.add('view', 1, never)
    viewers.send('delta', 2)
    const second = viewers.add('view', 3, never)
    const told = [textOf(first), textOf(second)]
    viewers.send('delta', 4)
    await systemClock.breathe()
    viewers.close()
    const numbers = (await Promise.all(told)).map((text) => text.match(/(?<=data: )\d/g))
    expect(numbers).toEqual([
      ['1', '2', '4'],
      ['3', '4'],
    ])
  })

  test('one who does not read is dropped, and the others are not', async () => {
    let lasts = 0
    const viewers = new Viewers(() => {
      lasts += 1
    })
    const hung = viewers.add('view', 0, never)
    const reading = textOf(viewers.add('view', 0, never))
    const frame = 'x'.repeat(100_000)
    for (let sent = 0; sent < 20; sent += 1) {
      viewers.send('delta', frame)
      await systemClock.breathe()
    }
    expect([viewers.count, lasts]).toEqual([1, 0])
    // What waited for him is gone with him.
    expect(await textOf(hung)).toBe('')
    viewers.close()
    expect((await reading).length).toBeGreaterThan(2_000_000)
    expect([viewers.count, lasts]).toEqual([0, 1])
  })

  test('one whose connection hangs is dropped as well, and no more is kept for him', async () => {
    const viewers = new Viewers(() => {})
    const server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      fetch: ({ signal }) => new Response(viewers.add('view', 0, signal)),
    })
    const client = await rawClient(server.url.href)
    client.send('GET / HTTP/1.1\r\nhost: here\r\n\r\n')
    await eventually(() => expect(client.text).toContain('event: view'))
    client.hang(60_000)
    const frame = 'x'.repeat(100_000)
    let sent = 0
    // What the connection itself holds, and then what waits for it.
    while (viewers.count > 0 && sent < 1000) {
      viewers.send('delta', frame)
      sent += 1
      await systemClock.breathe()
    }
    expect(viewers.count).toBe(0)
    expect(sent).toBeGreaterThan(10)
    client.close()
    await server.stop(true)
  })

  test('whoever goes is gone, and there are only so many', async () => {
    const viewers = new Viewers(() => {})
    const leaving = new AbortController()
    viewers.add('view', 0, leaving.signal)
    leaving.abort()
    await viewers.add('view', 0, never).cancel()
    expect(viewers.count).toBe(0)
    for (let number = 0; number < 64; number += 1) {
      viewers.refuseMore()
      viewers.add('view', 0, never)
    }
    expect(() => viewers.refuseMore()).toThrow(UnavailableError)
    viewers.close()
  })
})

describe('rates', () => {
  const brief = (id: string, done: number, total: number) => {
    const counts = { ...noCounts(), ok: done, pending: total - done }
    return { id, state: 'running', total, counts, rejectedCount: 0, createdAt: 0 } as const
  }

  test('each task that ends is counted once, in whatever order the news come', () => {
    const news = fc.array(
      fc.record({
        run: fc.constantFrom('r-a', 'r-b', 'r-c'),
        done: fc.integer({ min: 0, max: 500 }),
      }),
    )
    fc.assert(
      fc.property(news, fc.integer({ min: 0, max: 100 }), (notices, before) => {
        const rates = new Rates(undefined, 0)
        rates.known(brief('r-a', before, 500))
        for (const notice of notices) rates.noticed({ ...notice, state: 'running' })
        const most = new Map([['r-a', before]])
        for (const { run, done } of notices) most.set(run, Math.max(most.get(run) ?? 0, done))
        const ended = [...most.values()].reduce((sum, done) => sum + done, 0) - before
        // A rate is told to two digits; these are whole.
        expect(rates.take(0, 1000).rate).toBe(ended)
        expect(rates.take(0, 2000).rate).toBe(0)
      }),
      { seed: testSeed() },
    )
  })

  test('the wait is that of what was taken since the last point, and none when nothing was', () => {
    const telemetry = new Telemetry()
    telemetry.taken('work.noop', 1, 60_000)
    const rates = new Rates(telemetry, 0)
    expect(rates.take(0, 1000).waitMs).toBeNull()
    for (let number = 0; number < 100; number += 1) telemetry.taken('work.noop', 1, 4)
    const { waitMs } = rates.take(0, 2000)
    expect(waitMs).toBeGreaterThan(1)
    expect(waitMs).toBeLessThanOrEqual(5)
    expect(rates.take(0, 3000).waitMs).toBeNull()
  })

  test('five minutes are kept', () => {
    const rates = new Rates(undefined, 0)
    for (let second = 1; second <= 400; second += 1) rates.take(second, second * 1000)
    expect([rates.points.length, rates.points[0]?.at]).toEqual([300, 101])
  })
})

describe('folded results', () => {
  const runOf = (given: readonly Outcome[]): Run => {
    const counts = noCounts()
    for (const outcome of given) counts[outcome] += 1
    const total = given.length
    return {
      id: 'r-1',
      state: 'completed',
      total,
      counts,
      rejectedCount: 0,
      rejected: [],
      createdAt: 0,
    }
  }
  const resultsOf = (given: readonly Outcome[]) => ({
    async query(_: string, { outcomes: wanted, after = -1, limit }: ResultQuery) {
      return given
        .map((outcome, seq) => ({ seq, outcome }))
        .filter(({ seq, outcome }) => seq > after && wanted?.includes(outcome) !== false)
        .slice(0, limit)
        .map(({ seq, outcome }) => ({ seq, line: JSON.stringify({ seq, outcome, kind: 'noop' }) }))
    },
  })

  test('the groups sum to the tasks that were asked for', async () => {
    const some = fc.array(fc.constantFrom(...outcomes), { maxLength: 60 })
    const wanted = fc.uniqueArray(fc.constantFrom(...outcomes), { minLength: 1 })
    await fc.assert(
      fc.asyncProperty(some, wanted, async (given, asked) => {
        const { items } = await foldedResults(resultsOf(given), runOf(given), asked)
        for (const outcome of outcomes) {
          const there = asked.includes(outcome) ? given.filter((one) => one === outcome).length : 0
          const groups = items.filter((group) => group.outcome === outcome)
          expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(there)
        }
      }),
      { seed: testSeed() },
    )
  })

  test('of a large run what is ok is only counted', async () => {
    const given = Array.from(
      { length: 12_000 },
      (_, seq): Outcome => (seq % 100 === 7 ? 'failed' : 'ok'),
    )
    const { items, isWhole } = await foldedResults(resultsOf(given), runOf(given))
    expect(items).toMatchObject([
      { outcome: 'ok', count: 11_880, firstSeq: -1 },
      { outcome: 'failed', count: 120, firstSeq: 7 },
    ])
    expect(isWhole).toBe(false)
  })
})
