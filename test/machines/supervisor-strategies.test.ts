import { describe, expect, test } from 'bun:test'
import { allReady, begin, planned } from './supervised.ts'

/** Three that run, of one strategy. */
function three(strategy: 'one_for_one' | 'one_for_all' | 'rest_for_one') {
  const it = begin(['a', 'b', 'c'], { strategy })
  allReady(it, ['a', 'b', 'c'])
  it.started.length = 0
  return it
}

describe('one_for_one', () => {
  test('restarts the child that failed, and nobody else', () => {
    const it = three('one_for_one')
    it.crash('b')
    it.clock.advance(200)
    it.ready('b')
    expect([it.started, it.asked, it.state()]).toEqual([['b:2'], [], 'running'])
  })
})

describe('one_for_all', () => {
  test('stops the others in reverse, one at a time, and starts all in order', () => {
    const it = three('one_for_all')
    it.crash('b')
    expect([it.state(), it.asked]).toEqual(['restarting', ['c']])
    it.end('c')
    expect(it.asked).toEqual(['c', 'a'])
    it.end('a')
    expect([it.alive.size, it.started]).toEqual([0, []])
    it.clock.advance(199)
    expect(it.started).toEqual([])
    it.clock.advance(1)
    expect(it.started).toEqual(['a:2'])
    it.ready('a')
    it.ready('b')
    expect(it.started).toEqual(['a:2', 'b:2', 'c:2'])
    expect(it.state()).toBe('restarting')
    it.ready('c')
    expect([it.state(), it.clock.armed]).toEqual(['running', 0])
  })

  test('books a restart for the child that failed only', () => {
    const it = three('one_for_all')
    it.crash('b')
    for (const id of ['c', 'a']) it.end(id)
    it.clock.advance(200)
    allReady(it, ['a', 'b', 'c'])
    expect(['a', 'b', 'c'].map((id) => it.child(id)?.restarts)).toEqual([0, 1, 0])
    expect(it.actor.getSnapshot().context.failures).toHaveLength(1)
  })

  test('waits for whoever takes longer to stop than the back-off', () => {
    const it = three('one_for_all')
    it.crash('a')
    it.end('c')
    it.clock.advance(499)
    expect([it.started, it.alive.has('b')]).toEqual([[], true])
    it.clock.advance(1)
    expect([it.removed, it.started]).toEqual([['b'], ['a:2']])
  })

  test('takes out whoever does not stop in time', () => {
    const it = three('one_for_all')
    it.crash('a')
    it.clock.advance(500)
    expect([it.removed, it.asked]).toEqual([['c'], ['c', 'b']])
    it.clock.advance(500)
    expect([it.removed, it.started]).toEqual([['c', 'b'], ['a:2']])
  })
})

describe('rest_for_one', () => {
  test('restarts the child that failed and those after it', () => {
    const it = three('rest_for_one')
    it.crash('b')
    expect(it.asked).toEqual(['c'])
    it.end('c')
    it.clock.advance(200)
    it.ready('b')
    it.ready('c')
    expect([it.started, it.asked, it.state()]).toEqual([['b:2', 'c:2'], ['c'], 'running'])
  })

  test('restarts the last child alone', () => {
    const it = three('rest_for_one')
    it.crash('c')
    it.clock.advance(200)
    it.ready('c')
    expect([it.started, it.asked, it.state()]).toEqual([['c:2'], [], 'running'])
  })

  test('an earlier child that fails meanwhile joins, with those between', () => {
    const it = begin(['a', 'b', 'c', 'd'], { strategy: 'rest_for_one' })
    allReady(it, ['a', 'b', 'c', 'd'])
    it.started.length = 0
    it.crash('c')
    it.crash('a')
    expect(it.asked).toEqual(['d'])
    it.end('d')
    it.end('b')
    expect([it.asked, it.state()]).toEqual([['d', 'b'], 'restarting'])
    it.clock.advance(200)
    for (const id of ['a', 'b', 'c', 'd']) it.ready(id)
    expect([it.started, it.state()]).toEqual([['a:2', 'b:2', 'c:2', 'd:2'], 'running'])
  })

  test('a child that fails as it is started again delays itself and the later ones', () => {
    const it = three('rest_for_one')
    it.crash('a')
    for (const id of ['c', 'b']) it.end(id)
    it.clock.advance(200)
    it.ready('a')
    it.crash('b')
    expect([it.alive, it.asked]).toEqual([new Map([['a', 2]]), ['c', 'b']])
    it.clock.advance(199)
    expect(it.started).toEqual(['a:2', 'b:2'])
    it.clock.advance(1)
    it.ready('b')
    it.ready('c')
    expect([it.started, it.state()]).toEqual([['a:2', 'b:2', 'b:3', 'c:2'], 'running'])
  })
})

describe('a group that is restarted', () => {
  test('gives up when its failures are too many, also in the middle of it', () => {
    const it = three('one_for_all')
    it.crash('a')
    for (const id of ['c', 'b']) it.end(id)
    it.clock.advance(200)
    it.crash('a')
    it.clock.advance(400)
    it.ready('a')
    it.crash('b')
    expect([it.state(), it.asked.at(-1)]).toEqual(['stopping', 'a'])
    it.end('a')
    expect(String(it.errors[0])).toContain('root/b: boom')
    expect([it.alive.size, it.clock.armed]).toEqual([0, 0])
  })

  test('does not count the fall of those that are stopped anyway', () => {
    const it = begin(['a', 'b', 'c', 'd'], { strategy: 'one_for_all', intensity: 1 })
    allReady(it, ['a', 'b', 'c', 'd'])
    it.crash('a')
    it.crash('d')
    it.crash('b')
    it.end('c')
    expect([it.state(), it.alive.size]).toEqual(['restarting', 0])
    expect(it.actor.getSnapshot().context.failures).toHaveLength(1)
    it.clock.advance(200)
    allReady(it, ['a', 'b', 'c', 'd'])
  })

  test('is stopped like any other, whatever it waits for', () => {
    const it = three('one_for_all')
    it.crash('b')
    it.stop()
    for (const id of ['c', 'a']) it.end(id)
    expect([it.state(), it.clock.armed, it.started]).toEqual(['stopped', 0, []])
  })

  test('a stop is limited also when the child becomes ready after it was asked', () => {
    const it = three('rest_for_one')
    it.crash('c')
    it.clock.advance(200)
    it.crash('a')
    it.ready('c')
    it.clock.advance(500)
    expect([it.asked, it.removed]).toEqual([['c', 'b'], ['c']])
  })

  test('leaves out whoever is temporary, and counts in whoever had ended well', () => {
    const it = begin(
      ['a', planned('b', { restart: 'temporary' }), planned('c', { restart: 'transient' })],
      { strategy: 'one_for_all' },
    )
    allReady(it, ['a', 'b', 'c'])
    it.end('c')
    it.crash('a')
    it.end('b')
    it.clock.advance(200)
    it.ready('a')
    it.ready('c')
    expect(it.started).toEqual(['a:1', 'b:1', 'c:1', 'a:2', 'c:2'])
    expect(it.statuses()).toEqual({ a: 'ready', c: 'ready' })
  })

  test('starts whoever is added meanwhile in its turn', () => {
    const it = three('one_for_all')
    it.crash('a')
    it.add('d')
    for (const id of ['c', 'b']) it.end(id)
    it.clock.advance(200)
    for (const id of ['a', 'b', 'c', 'd']) it.ready(id)
    expect([it.started, it.state()]).toEqual([['a:2', 'b:2', 'c:2', 'd:1'], 'running'])
  })

  test('lets go of whoever is removed meanwhile, alive or not', () => {
    const it = three('one_for_all')
    it.crash('a')
    it.remove('a')
    it.remove('b')
    it.remove('c')
    for (const id of ['c', 'b']) it.end(id)
    expect([it.state(), it.statuses(), it.clock.armed]).toEqual(['running', {}, 0])
    expect(it.asked).toEqual(['c', 'b'])
  })
})

describe('dynamic', () => {
  test('starts children as they come, and restarts them alone', () => {
    const it = begin([], { strategy: 'dynamic' })
    it.add('a')
    it.add('b')
    expect([it.started, it.state()]).toEqual([['a:1', 'b:1'], 'running'])
    it.crash('a')
    it.clock.advance(200)
    expect([it.started.at(-1), it.asked]).toEqual(['a:2', []])
  })

  test('stops all at once', () => {
    const it = begin([], { strategy: 'dynamic' })
    for (const id of ['a', 'b', 'c']) it.add(id)
    it.stop()
    expect(it.asked.toSorted()).toEqual(['a', 'b', 'c'])
    it.clock.advance(500)
    expect([it.state(), it.removed.length, it.clock.armed]).toEqual(['stopped', 3, 0])
  })

  test('has no more children than it may, and room again when one is gone', () => {
    const it = begin([], { strategy: 'dynamic', childrenMax: 2 })
    for (const id of ['a', 'b', 'c']) it.add(id)
    expect([it.started, it.refused]).toEqual([['a:1', 'b:1'], ['c']])
    it.add('a')
    expect(it.refused).toEqual(['c'])
    it.remove('a')
    it.end('a')
    it.add('c')
    expect([[...it.alive.keys()], it.refused]).toEqual([['b', 'c'], ['c']])
  })

  test('keeps nothing of a transient child that ended well', () => {
    const it = begin([], { strategy: 'dynamic', childrenMax: 1 })
    for (let round = 0; round < 5; round += 1) {
      it.add(`job-${round}`, { restart: 'transient' })
      it.ready(`job-${round}`)
      it.end(`job-${round}`)
    }
    expect([it.statuses(), it.refused, it.started.length]).toEqual([{}, [], 5])
  })
})
