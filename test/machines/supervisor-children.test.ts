import { describe, expect, test } from 'bun:test'
import { allReady, begin, planned } from './supervised.ts'

describe('a transient child', () => {
  test('that ends well is not restarted', () => {
    const it = begin([planned('a', { restart: 'transient' }), 'b'])
    allReady(it, ['a', 'b'])
    it.end('a')
    it.clock.advance(60_000)
    expect([it.statuses(), it.started]).toEqual([{ a: 'stopped', b: 'ready' }, ['a:1', 'b:1']])
    expect(it.actor.getSnapshot().context.failures).toEqual([])
  })

  test('that fails is restarted', () => {
    const it = begin([planned('a', { restart: 'transient' })])
    allReady(it, ['a'])
    it.crash('a')
    it.clock.advance(200)
    expect(it.started).toEqual(['a:1', 'a:2'])
  })

  test('that ends well before it was ready lets the next one start', () => {
    const it = begin([planned('a', { restart: 'transient' }), 'b'])
    it.end('a')
    it.ready('b')
    expect([it.state(), it.started]).toEqual(['running', ['a:1', 'b:1']])
  })
})

describe('a temporary child', () => {
  test('is gone when it ends, well or not', () => {
    const it = begin([
      planned('a', { restart: 'temporary' }),
      planned('b', { restart: 'temporary' }),
      'c',
    ])
    allReady(it, ['a', 'b', 'c'])
    it.end('a')
    it.crash('b')
    it.clock.advance(60_000)
    expect([it.statuses(), it.started.length]).toEqual([{ c: 'ready' }, 3])
    expect(it.actor.getSnapshot().context.failures).toEqual([])
    expect(it.reports).toEqual([{ id: 'b', restartInMs: undefined, at: 0 }])
  })

  test('never makes the others of its group restart', () => {
    const it = begin([planned('a', { restart: 'temporary' }), 'b'], { strategy: 'one_for_all' })
    allReady(it, ['a', 'b'])
    it.crash('a')
    expect([it.state(), it.asked]).toEqual(['running', []])
  })

  test('that fails while a later one starts does not fail the start', () => {
    const it = begin([planned('a', { restart: 'temporary' }), 'b'])
    it.ready('a')
    it.crash('a')
    it.ready('b')
    expect([it.state(), it.statuses()]).toEqual(['running', { b: 'ready' }])
  })

  test('may come again by the same name, in a life of its own', () => {
    const it = begin([planned('a', { restart: 'temporary' }), 'b'])
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.add('a')
    expect(it.alive.get('a')).toBe(2)
    it.actor.send({ type: 'child.ended', id: 'a', incarnation: 1 })
    expect(it.statuses()).toEqual({ a: 'starting', b: 'ready' })
  })
})

describe('a significant child', () => {
  const significant = (id: string, restart: 'transient' | 'temporary' = 'transient') =>
    planned(id, { restart, significant: true })

  test('ends the supervisor with it, when any may', () => {
    const it = begin([significant('a'), significant('b'), 'c'], { autoShutdown: 'any_significant' })
    allReady(it, ['a', 'b', 'c'])
    it.end('a')
    expect([it.state(), it.asked]).toEqual(['stopping', ['c']])
    it.end('c')
    it.end('b')
    expect([it.state(), it.errors, it.asked]).toEqual(['stopped', [], ['c', 'b']])
  })

  test('ends the supervisor when it is the last one, when all must', () => {
    const it = begin([significant('a'), significant('b', 'temporary'), 'c'], {
      autoShutdown: 'all_significant',
    })
    allReady(it, ['a', 'b', 'c'])
    it.end('a')
    expect(it.state()).toBe('running')
    it.crash('b')
    expect([it.state(), it.asked]).toEqual(['stopping', ['c']])
    it.end('c')
    expect([it.state(), it.errors]).toEqual(['stopped', []])
  })

  test('that will be restarted keeps the supervisor up', () => {
    const it = begin([significant('a'), significant('b')], { autoShutdown: 'all_significant' })
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.end('b')
    expect([it.state(), it.statuses()]).toEqual(['running', { a: 'backingOff', b: 'stopped' }])
    it.clock.advance(200)
    it.end('a')
    expect(it.state()).toBe('stopped')
  })

  test('that fails is restarted when it is transient', () => {
    const it = begin([significant('a'), 'b'], { autoShutdown: 'any_significant' })
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.clock.advance(200)
    it.ready('a')
    expect([it.state(), it.started.at(-1)]).toEqual(['running', 'a:2'])
  })

  test('that ends well as it starts, or in a restart of its group, ends it too', () => {
    const early = begin(['b', significant('a')], { autoShutdown: 'any_significant' })
    early.ready('b')
    early.end('a')
    expect([early.state(), early.asked]).toEqual(['stopping', ['b']])

    const late = begin([significant('a'), 'b'], {
      autoShutdown: 'any_significant',
      strategy: 'rest_for_one',
    })
    allReady(late, ['a', 'b'])
    late.crash('b')
    late.end('a')
    expect([late.state(), late.alive.size, late.clock.armed]).toEqual(['stopped', 0, 0])
  })

  test('that is stopped with its group does not end the supervisor', () => {
    const it = begin(['a', significant('b', 'temporary')], {
      autoShutdown: 'any_significant',
      strategy: 'one_for_all',
    })
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.end('b')
    it.clock.advance(200)
    it.ready('a')
    expect([it.state(), it.statuses()]).toEqual(['running', { a: 'ready' }])
  })
})

describe('a fault', () => {
  test('that is a bug counts', () => {
    const it = begin(['a'], { intensity: 1 })
    allReady(it, ['a'])
    it.crash('a', 'bug')
    it.clock.advance(200)
    it.ready('a')
    it.crash('a', 'bug')
    expect(it.errors).toHaveLength(1)
  })

  for (const fault of ['dependency', 'poison'] as const) {
    test(`of the class ${fault} is restarted as often as it takes, uncounted`, () => {
      const it = begin(['a'], { intensity: 1 })
      allReady(it, ['a'])
      for (let crash = 0; crash < 50; crash += 1) {
        it.crash('a', fault)
        expect(it.child('a')?.status).toBe(fault === 'dependency' ? 'suspended' : 'backingOff')
        it.clock.advance(it.reports.at(-1)?.restartInMs ?? 0)
        it.ready('a')
      }
      expect([it.state(), it.child('a')?.incarnation]).toEqual(['running', 51])
      expect(it.actor.getSnapshot().context.failures).toEqual([])
    })
  }

  test('of poison takes back the one by which that is known', () => {
    const it = begin(['a'], { intensity: 1, streakMax: 1 })
    allReady(it, ['a'])
    for (let message = 0; message < 20; message += 1) {
      for (const fault of ['bug', 'poison', 'poison'] as const) {
        it.crash('a', fault)
        // The wait does not grow with the messages.
        expect(it.reports.at(-1)?.restartInMs).toBeLessThanOrEqual(400)
        it.clock.advance(400)
        it.ready('a')
      }
    }
    expect(it.child('a')).toMatchObject({ strikes: 0, restarts: 60 })
    it.crash('a', 'bug')
    it.clock.advance(400)
    it.ready('a')
    it.crash('a', 'bug')
    expect(it.errors).toHaveLength(1)
  })

  test('that is uncounted leaves what was counted before', () => {
    const it = begin(['a'], { intensity: 1 })
    allReady(it, ['a'])
    for (const fault of ['bug', 'dependency'] as const) {
      it.crash('a', fault)
      it.clock.advance(400)
      it.ready('a')
    }
    it.crash('a', 'bug')
    expect(it.errors).toHaveLength(1)
  })

  test('of the class fenced ends the child for good, and says so', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.crash('a', 'fenced')
    it.clock.advance(60_000)
    expect([it.state(), it.alive, it.started.length]).toEqual(['running', new Map([['b', 1]]), 2])
    expect(it.reports).toEqual([{ id: 'a', restartInMs: undefined, at: 0 }])
  })

  test('of the class fenced is never restarted, not with its group either', () => {
    for (const strategy of ['one_for_all', 'rest_for_one'] as const) {
      const it = begin(['a', 'b', 'c'], { strategy })
      allReady(it, ['a', 'b', 'c'])
      it.crash('b', 'fenced')
      it.crash('a')
      it.end('c')
      it.clock.advance(200)
      it.ready('a')
      it.ready('c')
      expect([it.state(), it.alive]).toEqual([
        'running',
        new Map([
          ['a', 2],
          ['c', 2],
        ]),
      ])
    }
  })

  test('of the class fenced does not fail the start of the others', () => {
    const it = begin(['a', 'b'])
    it.ready('a')
    it.crash('a', 'fenced')
    it.ready('b')
    expect([it.state(), it.alive]).toEqual(['running', new Map([['b', 1]])])
  })

  test('of the class fatal ends the supervisor at the first time', () => {
    for (const strategy of ['one_for_one', 'one_for_all'] as const) {
      const it = begin(['a', 'b'], { strategy })
      allReady(it, ['a', 'b'])
      it.crash('b', 'fatal')
      expect([it.state(), it.asked]).toEqual(['stopping', ['a']])
      it.end('a')
      expect(String(it.errors[0])).toContain('root/b: boom')
    }
  })

  test('of a dependency restarts a group, uncounted', () => {
    const it = begin(['a', 'b'], { strategy: 'one_for_all', intensity: 1 })
    allReady(it, ['a', 'b'])
    for (let crash = 0; crash < 10; crash += 1) {
      it.crash('a', 'dependency')
      it.end('b')
      it.clock.advance(it.reports.at(-1)?.restartInMs ?? 0)
      allReady(it, ['a', 'b'])
    }
    expect(it.actor.getSnapshot().context.failures).toEqual([])
  })
})

describe('the time to stop', () => {
  test('of none takes the child out at once, without a word to it', () => {
    const it = begin(['a', planned('b', { stopTimeoutMs: 0 })])
    allReady(it, ['a', 'b'])
    it.stop()
    it.clock.advance(0)
    expect([it.asked, it.removed]).toEqual([['a'], ['b']])
  })

  test('without end waits for the child', () => {
    const it = begin(['a', planned('b', { stopTimeoutMs: Number.POSITIVE_INFINITY })])
    allReady(it, ['a', 'b'])
    it.stop()
    expect(it.clock.armed).toBe(0)
    it.clock.advance(10 ** 9)
    expect([it.asked, it.removed, it.alive.size]).toEqual([['b'], [], 2])
    it.end('b')
    it.end('a')
    expect([it.state(), it.asked]).toEqual(['stopped', ['b', 'a']])
  })

  test('is not cut by the time to start', () => {
    const it = begin(['a', planned('b', { stopTimeoutMs: Number.POSITIVE_INFINITY })])
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.clock.advance(200)
    it.stop()
    it.clock.advance(5000)
    expect([it.asked, it.removed]).toEqual([['b'], []])
    it.end('b')
    it.clock.advance(500)
    expect([it.asked, it.removed, it.state()]).toEqual([['b', 'a'], ['a'], 'stopped'])
  })

  test('is not cut by the time to start either in a group, or when it is removed', () => {
    const slow = { stopTimeoutMs: Number.POSITIVE_INFINITY }
    const group = begin(['a'], { strategy: 'rest_for_one' })
    allReady(group, ['a'])
    group.add('b')
    group.add('c', slow)
    group.crash('a')
    group.clock.advance(5000)
    expect([group.asked, group.removed]).toEqual([['c'], []])

    const single = begin(['a'])
    allReady(single, ['a'])
    single.add('b', slow)
    single.add('c')
    single.remove('b')
    single.remove('c')
    single.clock.advance(5000)
    expect([single.asked, single.removed]).toEqual([['b'], []])
    single.end('b')
    expect(single.asked).toEqual(['b', 'c'])
  })

  test('runs also when the child becomes ready after all', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.crash('a')
    it.clock.advance(200)
    it.remove('a')
    it.ready('a')
    it.clock.advance(500)
    expect([it.removed, it.statuses()]).toEqual([['a'], {}])
  })
})

describe('a child that is removed', () => {
  test('is asked to stop, and gone', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.remove('a')
    expect([it.asked, it.statuses()]).toEqual([['a'], { a: 'stopping', b: 'ready' }])
    it.end('a')
    expect([it.statuses(), it.clock.armed, it.reports]).toEqual([{ b: 'ready' }, 0, []])
  })

  test('is gone also when it fails at that, or does not stop in time', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.remove('a')
    it.crash('a')
    it.remove('b')
    it.clock.advance(500)
    expect([it.statuses(), it.removed, it.state()]).toEqual([{}, ['b'], 'running'])
    expect(it.actor.getSnapshot().context.failures).toEqual([])
  })

  test('waits for its turn when another is being removed', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.remove('a')
    it.remove('b')
    expect(it.asked).toEqual(['a'])
    it.crash('b')
    it.end('a')
    expect([it.asked, it.statuses(), it.started.length]).toEqual([['a'], {}, 2])
  })

  test('while it waits for its restart is gone at once', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.crash('a')
    it.remove('a')
    it.clock.advance(60_000)
    expect([it.statuses(), it.clock.armed, it.started]).toEqual([{}, 0, ['a:1']])
  })

  test('during the start is stopped, or not even started', () => {
    const it = begin(['a', 'b', 'c'])
    it.ready('a')
    it.remove('a')
    it.remove('c')
    it.ready('b')
    expect([it.state(), it.asked]).toEqual(['starting', ['a']])
    it.end('a')
    expect([it.state(), it.statuses(), it.started]).toEqual([
      'running',
      { b: 'ready' },
      ['a:1', 'b:1'],
    ])
  })

  test('as it starts first lets the next one start', () => {
    const it = begin(['a', 'b'])
    it.remove('a')
    it.clock.advance(500)
    it.ready('b')
    expect([it.removed, it.state(), it.statuses()]).toEqual([['a'], 'running', { b: 'ready' }])
  })
})
