import { describe, expect, test } from 'bun:test'
import { recentFailures } from '../../machines/supervision.ts'
import { allReady, begin, planned, policy } from './supervised.ts'

describe('supervisor machine', () => {
  test('children start one after the other, each when the one before is ready', () => {
    const it = begin(['a', 'b', 'c'])
    expect(it.started).toEqual(['a:1'])
    it.ready('a')
    expect(it.started).toEqual(['a:1', 'b:1'])
    it.ready('b')
    it.ready('c')
    expect([it.started.at(-1), it.state()]).toEqual(['c:1', 'running'])
    expect(it.clock.armed).toBe(0)
  })

  test('a supervisor without children runs, and stops at once', () => {
    const it = begin([])
    expect(it.state()).toBe('running')
    it.actor.send({ type: 'stop' })
    expect(it.state()).toBe('stopped')
  })

  test('a child that fails is restarted after its back-off, in a new incarnation', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.crash('a')
    expect([it.child('a')?.status, it.alive.has('a')]).toEqual(['backingOff', false])
    it.clock.advance(199)
    expect(it.started).toEqual(['a:1', 'b:1'])
    it.clock.advance(1)
    expect(it.started).toEqual(['a:1', 'b:1', 'a:2'])
    it.ready('a')
    expect(it.child('a')).toMatchObject({ status: 'ready', incarnation: 2, restarts: 1 })
  })

  test('the back-off doubles with each failure, and starts anew after a while of health', () => {
    const it = begin(['a'], { intensity: 10 })
    allReady(it, ['a'])
    const crashAfter = (ms: number) => {
      it.clock.advance(ms)
      it.crash('a')
      const { restartInMs } = it.reports.at(-1) ?? {}
      it.clock.advance(restartInMs ?? 0)
      it.ready('a')
      return restartInMs
    }
    expect([crashAfter(0), crashAfter(10), crashAfter(10)]).toEqual([200, 400, 800])
    expect([crashAfter(2999), crashAfter(3000), crashAfter(0)]).toEqual([1600, 200, 400])
  })

  test('waiting for a restart is no health', () => {
    const it = begin(['a'], {
      intensity: 10,
      backoff: { baseMs: 1000, capMs: 4000, jitter: 0 },
    })
    allReady(it, ['a'])
    for (const expected of [1000, 2000, 4000, 4000, 4000]) {
      it.crash('a')
      expect(it.reports.at(-1)?.restartInMs).toBe(expected)
      it.clock.advance(expected)
      it.ready('a')
    }
  })

  test('a child that is not ready in time counts as one failure', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.crash('a')
    it.clock.advance(200)
    expect(it.started).toEqual(['a:1', 'a:2'])
    it.clock.advance(1000)
    expect(it.reports.map(({ restartInMs }) => restartInMs)).toEqual([200, 400])
    expect(it.child('a')).toMatchObject({ status: 'backingOff', restarts: 2 })
    it.clock.advance(400)
    expect(it.started).toEqual(['a:1', 'a:2', 'a:3'])
  })

  test('a child that ends unasked has failed', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.end('a')
    expect(it.reports).toHaveLength(1)
    expect(it.child('a')).toMatchObject({ status: 'backingOff', lastError: 'child.ended' })
  })

  test('one failure more than the intensity allows ends it, with the last cause', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    for (const ms of [200, 400]) {
      it.crash('b')
      it.clock.advance(ms)
      it.ready('b')
    }
    expect(it.state()).toBe('running')
    it.crash('b')
    expect([it.state(), it.asked]).toEqual(['stopping', ['a']])
    it.end('a')
    expect(String(it.errors[0])).toContain('root/b: boom')
    expect([it.alive.size, it.clock.armed]).toEqual([0, 0])
  })

  test('failures count no longer once the window has passed', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    for (let count = 0; count < 20; count += 1) {
      it.crash('a')
      it.clock.advance(400)
      it.ready('a')
      it.clock.advance(4600)
    }
    expect([it.state(), it.child('a')?.restarts]).toEqual(['running', 20])
    expect(recentFailures([0, 1, 5000], policy, 10_000)).toEqual([1, 5000])
  })

  test('when a first start fails, those started before are stopped in reverse', () => {
    const it = begin(['a', 'b', 'c'])
    it.ready('a')
    it.ready('b')
    it.crash('c')
    it.end('b')
    it.end('a')
    expect(it.asked).toEqual(['b', 'a'])
    expect(String(it.errors[0])).toContain('root/c: boom')
  })

  test('a child that does not stop in time is taken out, and the next one stopped', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.actor.send({ type: 'stop' })
    it.clock.advance(499)
    expect([it.asked, it.alive.size]).toEqual([['b'], 2])
    it.clock.advance(1)
    expect([it.asked, it.alive.size]).toEqual([['b', 'a'], 1])
    it.end('a')
    expect([it.state(), it.clock.armed]).toEqual(['stopped', 0])
  })

  test('a restart that is due when it stops does not happen', () => {
    const it = begin(['a', 'b'])
    allReady(it, ['a', 'b'])
    it.crash('a')
    it.actor.send({ type: 'stop' })
    it.clock.advance(400)
    expect(it.asked).toEqual(['b'])
    it.end('b')
    expect([it.state(), it.started]).toEqual(['stopped', ['a:1', 'b:1']])
  })

  test('a child that is added is started at once, or in its turn', () => {
    const it = begin(['a', 'b'])
    it.actor.send({ type: 'child.add', child: planned('c') })
    expect(it.started).toEqual(['a:1'])
    allReady(it, ['a', 'b', 'c'])
    it.actor.send({ type: 'child.add', child: planned('d') })
    it.actor.send({ type: 'child.add', child: planned('d') })
    expect(it.started).toEqual(['a:1', 'b:1', 'c:1', 'd:1'])
    it.actor.send({ type: 'stop' })
    for (const id of ['d', 'c', 'b', 'a']) it.end(id)
    expect([it.asked, it.state()]).toEqual([['d', 'c', 'b', 'a'], 'stopped'])
  })
})

describe('a child that is added', () => {
  test('and cannot be as it is specified is refused, with the reason', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.add('b', { significant: true })
    it.add('c', { stopTimeoutMs: -1 })
    expect([it.refused, it.statuses()]).toEqual([['b', 'c'], { a: 'ready' }])
  })

  test('while the others are stopped is not started', () => {
    const it = begin(['a'])
    allReady(it, ['a'])
    it.stop()
    it.add('b')
    it.end('a')
    expect([it.state(), it.started]).toEqual(['stopped', ['a:1']])
  })
})
