import { describe, expect, test } from 'bun:test'
import { createActor, createMachine } from 'xstate'
import { DeadLetters, isLive } from '../../actors/dead-letters.ts'
import { testClock } from '../kit/clock.ts'

function begin(keep?: number) {
  const clock = testClock(5000)
  const told: string[] = []
  const log = {
    debug: (fields: object, message: string) =>
      void told.push(`${JSON.stringify(fields)} ${message}`),
    info() {},
    warn() {},
    error() {},
  }
  const letters = new DeadLetters({ clock, log, ...(keep === undefined ? {} : { keep }) })
  return { clock, letters, told }
}

const counter = createMachine({
  initial: 'alive',
  states: {
    alive: { on: { end: 'over', '*': { actions: () => undefined } } },
    over: { type: 'final' },
  },
})

describe('a message to an actor', () => {
  test('that lives reaches it, and is no dead letter', () => {
    const { letters } = begin()
    const heard: string[] = []
    const machine = createMachine({
      on: { '*': { actions: ({ event }) => heard.push(event.type) } },
    })
    const actor = createActor(machine).start()
    letters.tell(actor, { type: 'hello' })
    actor.stop()
    expect([heard, letters.total, letters.list()]).toEqual([['hello'], 0, []])
  })

  test('that is told before it was started is not lost either', () => {
    const { letters } = begin()
    const actor = createActor(counter)
    letters.tell(actor, { type: 'end' })
    actor.start()
    expect([actor.getSnapshot().status, letters.total]).toEqual(['done', 0])
  })

  test.each(['stopped', 'ended'])('that has %s is recorded, and not lost in silence', (how) => {
    const { clock, letters, told } = begin()
    const actor = createActor(counter, { id: 'work.job:3' }).start()
    if (how === 'stopped') actor.stop()
    else actor.send({ type: 'end' })
    clock.advance(20)
    letters.tell(actor, { type: 'message.received', secret: 'not shown' })
    expect(isLive(actor)).toBe(false)
    expect(letters.list()).toEqual([
      { at: 5020, to: 'work.job:3', type: 'message.received', reason: 'stopped' },
    ])
    expect(told).toEqual([
      '{"to":"work.job:3","type":"message.received"} a message reached an actor that has stopped',
    ])
  })
})

describe('dead letters', () => {
  test('are all counted; the latest are kept, the newest first', () => {
    const { letters } = begin(3)
    const actor = createActor(counter, { id: 'gone' }).start()
    actor.stop()
    for (let number = 1; number <= 10; number += 1) letters.tell(actor, { type: `m${number}` })
    expect(letters.total).toBe(10)
    expect(letters.list().map(({ type }) => type)).toEqual(['m10', 'm9', 'm8'])
  })

  test('a thousand are kept unless something else is said', () => {
    const { letters } = begin()
    const actor = createActor(counter, { id: 'gone' }).start()
    actor.stop()
    for (let number = 1; number <= 1200; number += 1) letters.tell(actor, { type: `m${number}` })
    expect([letters.total, letters.list().length]).toEqual([1200, 1000])
    expect([letters.list()[0]?.type, letters.list().at(-1)?.type]).toEqual(['m1200', 'm201'])
  })

  test('a list that was given is not changed by what comes later', () => {
    const { letters } = begin()
    const actor = createActor(counter, { id: 'gone' }).start()
    actor.stop()
    letters.tell(actor, { type: 'first' })
    const listed = letters.list()
    letters.tell(actor, { type: 'second' })
    expect(listed.map(({ type }) => type)).toEqual(['first'])
  })

  test('is told once to whoever keeps those of this process, the oldest first', () => {
    const { letters } = begin(2)
    const actor = createActor(counter, { id: 'work.job:1' }).start()
    actor.stop()
    for (const type of ['a', 'b', 'c']) letters.tell(actor, { type })
    const told = letters.take()
    expect(told.map(({ type }) => type)).toEqual(['b', 'c'])
    expect(letters.take()).toEqual([])
    const parent = begin().letters
    parent.merge('process-1', told)
    expect([parent.total, parent.list().map(({ to, type }) => `${to} ${type}`)]).toEqual([
      2,
      ['process-1/work.job:1 c', 'process-1/work.job:1 b'],
    ])
  })
})
