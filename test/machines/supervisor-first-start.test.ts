/** Who is ready and falls while the others are still in the first start. */
import { describe, expect, test } from 'bun:test'
import type { SupervisorPolicy } from '../../machines/supervision.ts'
import { allReady, begin, planned } from './supervised.ts'

/** The first two are ready, the third is starting. */
function starting(over: Partial<SupervisorPolicy> = {}) {
  const it = begin(['a', 'b', 'c'], over)
  it.ready('a')
  it.ready('b')
  expect([it.state(), it.started]).toEqual(['starting', ['a:1', 'b:1', 'c:1']])
  return it
}

const failuresOf = (it: ReturnType<typeof begin>) => it.actor.getSnapshot().context.failures

describe('a child that falls after it was ready, in the first start of the others', () => {
  test('waits for the end of the start, and is then restarted and counted like any other', () => {
    const it = starting()
    it.crash('a')
    expect([it.state(), it.child('a')]).toMatchObject([
      'starting',
      { status: 'fallen', lastError: 'boom', restarts: 0 },
    ])
    it.clock.advance(700)
    expect([it.reports, failuresOf(it), it.started.length]).toEqual([[], [], 3])
    it.ready('c')
    expect([it.state(), it.child('a')?.status]).toEqual(['running', 'backingOff'])
    expect([it.reports, failuresOf(it)]).toEqual([[{ id: 'a', restartInMs: 200, at: 700 }], [700]])
    it.clock.advance(200)
    it.ready('a')
    expect(it.statuses()).toEqual({ a: 'ready', b: 'ready', c: 'ready' })
    expect([it.started.at(-1), it.errors, it.clock.armed]).toEqual(['a:2', [], 0])
  })

  test('has failed also when it ends unasked', () => {
    const it = starting()
    it.end('a')
    expect(it.statuses()).toMatchObject({ a: 'fallen' })
    it.ready('c')
    expect([it.child('a')?.status, failuresOf(it)]).toEqual(['backingOff', [0]])
  })

  test('restarts its group, once the start is over', () => {
    for (const [strategy, asked, started] of [
      ['one_for_all', ['c', 'a'], ['a:2', 'b:2', 'c:2']],
      ['rest_for_one', ['c'], ['b:2', 'c:2']],
    ] as const) {
      const it = starting({ strategy })
      it.crash('b')
      expect(it.asked).toEqual([])
      it.ready('c')
      expect(it.state()).toBe('restarting')
      for (const id of ['c', 'a']) if (it.child(id)?.status === 'stopping') it.end(id)
      expect<readonly string[]>(it.asked).toEqual(asked)
      it.clock.advance(200)
      allReady(it, ['a', 'b', 'c'])
      expect<readonly string[]>(it.started.slice(3)).toEqual(started)
    }
  })

  test('is restarted for itself beside another that fell, and both are counted', () => {
    const it = starting()
    it.crash('b')
    it.crash('a')
    it.ready('c')
    expect(it.reports.map(({ id }) => id)).toEqual(['b', 'a'])
    it.clock.advance(200)
    expect([it.started.slice(3), failuresOf(it)]).toEqual([
      ['b:2', 'a:2'],
      [0, 0],
    ])
  })

  test('is restarted with its group when another of it fell before, and is not counted', () => {
    const it = starting({ strategy: 'one_for_all', intensity: 1 })
    it.crash('b')
    it.crash('a')
    it.ready('c')
    it.end('c')
    it.clock.advance(200)
    allReady(it, ['a', 'b', 'c'])
    expect([it.started.slice(3), failuresOf(it)]).toEqual([['a:2', 'b:2', 'c:2'], [0]])
    expect(it.reports.map(({ id }) => id)).toEqual(['b'])
  })

  test('more often than the intensity allows ends the supervisor after it was up', () => {
    const it = begin(['a', 'b', 'c'], { intensity: 1 })
    const states: unknown[] = []
    it.actor.subscribe({
      next: (snapshot) => states.push([snapshot.value, snapshot.hasTag('ready')]),
      error: () => undefined,
    })
    it.ready('a')
    it.ready('b')
    it.crash('a')
    it.crash('b')
    it.ready('c')
    expect(states).toContainEqual(['running', true])
    expect([it.state(), it.asked]).toEqual(['stopping', ['c']])
    it.end('c')
    expect([it.errors.map(String), it.clock.armed]).toEqual([['Error: root/b: boom'], 0])
  })

  test('counts its health from its restart', () => {
    const it = begin(['a', planned('b', { startTimeoutMs: Number.POSITIVE_INFINITY })])
    it.ready('a')
    it.crash('a')
    it.clock.advance(60_000)
    it.ready('b')
    it.clock.advance(200)
    it.ready('a')
    it.clock.advance(2999)
    it.crash('a')
    expect(it.reports.map(({ restartInMs }) => restartInMs)).toEqual([200, 400])
  })

  test('ends each life once, whatever else is said of it', () => {
    const it = starting()
    const repeat = () => {
      it.actor.send(it.failed('a', 1))
      it.actor.send(it.failed('a', 1, 'boom', 'fatal'))
      it.actor.send({ type: 'child.ended', id: 'a', incarnation: 1 })
      it.actor.send({ type: 'child.ready', id: 'a', incarnation: 1 })
      it.actor.send({ type: 'child.late', id: 'a', incarnation: 1 })
    }
    it.crash('a')
    repeat()
    expect([it.state(), it.child('a')?.status]).toEqual(['starting', 'fallen'])
    it.ready('c')
    repeat()
    expect([it.child('a')?.restarts, it.reports.length, failuresOf(it)]).toEqual([1, 1, [0]])
  })

  test('of a fatal fault ends the supervisor at once', () => {
    const it = starting()
    it.crash('b')
    it.crash('a', 'fatal')
    expect([it.state(), it.asked, it.statuses()]).toEqual([
      'stopping',
      ['c'],
      { a: 'stopped', b: 'stopped', c: 'stopping' },
    ])
    it.end('c')
    expect(String(it.errors[0])).toBe('Error: root/a: boom')
  })

  test('is not waited for, but told of, when the start fails', () => {
    const it = starting()
    it.crash('b')
    it.crash('c')
    expect([it.state(), it.asked, it.statuses()['b']]).toEqual(['stopping', ['a'], 'stopped'])
    expect(it.reports.map(({ id, restartInMs }) => [id, restartInMs])).toEqual([
      ['c', undefined],
      ['b', undefined],
    ])
    it.end('a')
    expect([it.errors.map(String), it.started.length]).toEqual([['Error: root/c: boom'], 3])
  })

  test('is not waited for by a stop', () => {
    const it = starting()
    it.crash('a')
    it.stop()
    it.end('c')
    it.end('b')
    expect([it.asked, it.state(), it.errors, it.clock.armed]).toEqual([
      ['c', 'b'],
      'stopped',
      [],
      0,
    ])

    const last = begin(['a', planned('b', { restart: 'transient' })])
    last.ready('a')
    last.crash('a')
    last.stop()
    last.end('b')
    expect([last.asked, last.state(), last.started]).toEqual([['b'], 'stopped', ['a:1', 'b:1']])
  })

  test('is gone at once when it is removed, and its word is not that of who bears its name', () => {
    const it = starting()
    it.crash('a')
    it.remove('a')
    expect([it.asked, it.statuses()]).toEqual([[], { b: 'ready', c: 'starting' }])
    it.add('a')
    it.ready('c')
    it.ready('a')
    expect([it.state(), it.statuses()]).toEqual(['running', { b: 'ready', c: 'ready', a: 'ready' }])
    expect([it.started.at(-1), failuresOf(it), it.reports]).toEqual(['a:2', [], []])
  })
})

describe('a child that is not started again', () => {
  test('ends after the start of the others as well', () => {
    const it = begin([
      planned('a', { restart: 'transient' }),
      planned('b', { restart: 'temporary' }),
      'c',
      'd',
    ])
    for (const id of ['a', 'b', 'c']) it.ready(id)
    it.end('a')
    it.crash('b')
    it.crash('c', 'fenced')
    expect(it.statuses()).toEqual({ a: 'fallen', b: 'fallen', c: 'fallen', d: 'starting' })
    it.ready('d')
    it.clock.advance(60_000)
    expect(it.statuses()).toEqual({ a: 'stopped', c: 'stopped', d: 'ready' })
    expect(it.reports.map(({ id, restartInMs }) => [id, restartInMs])).toEqual([
      ['b', undefined],
      ['c', undefined],
    ])
    expect([it.started.length, failuresOf(it)]).toEqual([4, []])
  })

  test('is not started by the restart of its group either', () => {
    const it = begin(['a', planned('b', { restart: 'temporary' }), 'c', 'd'], {
      strategy: 'one_for_all',
    })
    for (const id of ['a', 'b', 'c']) it.ready(id)
    it.crash('a')
    it.crash('b')
    it.crash('c', 'fenced')
    it.ready('d')
    it.end('d')
    it.clock.advance(200)
    allReady(it, ['a', 'd'])
    expect(it.statuses()).toEqual({ a: 'ready', c: 'stopped', d: 'ready' })
    expect(it.started.slice(4)).toEqual(['a:2', 'd:2'])
    it.add('b')
    expect(it.started.at(-1)).toBe('b:2')
  })

  test('ends the supervisor with it when it is significant, once that is up', () => {
    const it = begin([planned('a', { restart: 'transient', significant: true }), 'b'], {
      autoShutdown: 'any_significant',
    })
    it.ready('a')
    it.end('a')
    expect(it.state()).toBe('starting')
    it.ready('b')
    expect([it.state(), it.asked]).toEqual(['stopping', ['b']])
    it.end('b')
    expect([it.state(), it.errors]).toEqual(['stopped', []])
  })
})
