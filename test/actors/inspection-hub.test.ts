import { afterEach, describe, expect, test } from 'bun:test'
import { type AnyActorRef, assign, createActor, setup } from 'xstate'
import { InspectionHub, type ViewerLine } from '../../actors/inspection-hub.ts'
import { type TestClock, testClock } from '../kit/clock.ts'

interface Told {
  type: string
  sessionId: string
  parentId?: string
  name?: string
  definition?: string
  event?: { type: string }
  snapshot?: { status: string; value?: unknown; context?: { count: number } }
  path?: string
  unseen?: number
  dropped?: number
}

class Line implements ViewerLine {
  readonly told: Told[] = []
  full = false
  closed: string | undefined
  write(frame: string) {
    this.told.push(JSON.parse(frame) as Told)
  }
  buffered = () => (this.full ? 1e9 : 0)
  close(reason: string) {
    this.closed = reason
  }
  /** What it has been told since this was last asked. */
  take = () => this.told.splice(0)
}

const child = setup({
  types: { context: {} as { count: number }, events: {} as { type: string } },
  actions: {
    fail: () => {
      throw new Error('broke')
    },
  },
}).createMachine({
  id: 'child',
  context: { count: 0 },
  initial: 'idle',
  states: { idle: { on: { go: 'busy' } }, busy: { on: { rest: 'idle' } }, over: { type: 'final' } },
  on: {
    count: { actions: assign({ count: ({ context }) => context.count + 1 }) },
    fail: { actions: 'fail' },
    end: '.over',
  },
})

const parent = setup({ actors: { child } }).createMachine({
  id: 'parent',
  invoke: [
    { src: 'child', id: 'a' },
    { src: 'child', id: 'b' },
  ],
  on: { 'xstate.error.actor.*': {} },
})

const lives: AnyActorRef[] = []
afterEach(() => {
  for (const life of lives.splice(0)) life.stop()
})

function begin(stallMs = 1000) {
  const clock: TestClock = testClock()
  const root: AnyActorRef = createActor(parent).start()
  root.subscribe({ error: () => undefined })
  lives.push(root)
  let observers = 0
  const { system } = root
  const inspect = system.inspect.bind(system)
  system.inspect = (observer) => {
    const subscription = inspect(observer)
    observers += 1
    return {
      unsubscribe() {
        observers -= 1
        subscription.unsubscribe()
      },
    }
  }
  const hub = new InspectionHub({ root: () => root, name: 'n-1', clock, roundMs: 100, stallMs })
  const ref = (id: string) => root.getSnapshot().children[id] as AnyActorRef
  return { clock, root, hub, ref, observers: () => observers }
}

describe('the actors of a node', () => {
  test('are observed as long as somebody watches, and no longer', () => {
    const { hub, observers } = begin()
    expect([hub.isAttached, observers()]).toEqual([false, 0])
    const [first, second] = [new Line(), new Line()].map((line) => hub.add(line, 'full'))
    expect([hub.isAttached, observers(), hub.viewers]).toEqual([true, 1, 2])
    first?.leave()
    expect(observers()).toBe(1)
    second?.leave()
    second?.leave()
    expect([hub.isAttached, observers(), hub.viewers]).toEqual([false, 0, 0])
  })

  test('are all told to whoever comes late, each as it is', async () => {
    const { hub, ref, clock } = begin()
    hub.add(new Line(), 'full')
    ref('a').send({ type: 'go' })
    await clock.pass(100)
    const late = new Line()
    hub.add(late, 'full')
    const told = late.take()
    expect(told.map(({ type, path, snapshot }) => [type, path, snapshot?.value])).toEqual([
      ['@xstate.actor', '/n-1', {}],
      ['@xstate.actor', '/n-1/a', 'busy'],
      ['@xstate.actor', '/n-1/b', 'idle'],
    ])
    expect(told[1]?.parentId).toBe(told[0]?.sessionId ?? '')
    expect(JSON.parse(told[1]?.definition ?? '{}')).toMatchObject({ id: 'child', initial: 'idle' })
  })

  test('are told once a round, however often they change', async () => {
    const { hub, ref, clock } = begin()
    const line = new Line()
    hub.add(line, 'full')
    line.take()
    for (let count = 0; count < 500; count += 1) ref('a').send({ type: 'count' })
    expect(line.told).toEqual([])
    await clock.pass(100)
    const told = line.take()
    expect(told.map(({ type }) => type)).toEqual([
      '@xstate.snapshot',
      '@xstate.event',
      '@xstate.event',
      '@xstate.event',
    ])
    expect(told[0]?.snapshot?.context).toEqual({ count: 500 })
    expect(told.at(-1)?.unseen).toBe(497)
    await clock.pass(1000)
    expect(line.take()).toEqual([])
  })

  test('that come and go are told, also one that fails in the midst of its work', async () => {
    const { hub, ref, clock } = begin()
    const line = new Line()
    hub.add(line, 'full')
    const [, { sessionId: a } = { sessionId: '' }, { sessionId: b } = { sessionId: '' }] =
      line.take()
    ref('a').send({ type: 'end' })
    ref('b').subscribe({ error: () => undefined })
    ref('b').send({ type: 'fail' })
    await clock.pass(100)
    const ends = line.take().filter(({ type }) => type === '@xstate.snapshot')
    expect(ends.find(({ sessionId }) => sessionId === a)?.snapshot?.status).toBe('done')
    expect(ends.find(({ sessionId }) => sessionId === b)?.snapshot?.status).toBe('error')
  })

  test('show their context to a page for the one that it has chosen', async () => {
    const { hub, ref, clock } = begin()
    const line = new Line()
    const viewer = hub.add(line, 'page')
    const all = line.take()
    expect(all.map(({ definition, snapshot }) => [definition, snapshot?.context])).toEqual(
      all.map(() => [undefined, undefined]),
    )
    viewer.select(ref('a').sessionId)
    expect(line.take().map(({ snapshot }) => snapshot?.context)).toEqual([{ count: 0 }])
    ref('a').send({ type: 'count' })
    ref('b').send({ type: 'count' })
    await clock.pass(100)
    const told = line.take().filter(({ type }) => type === '@xstate.snapshot')
    expect(told.map(({ snapshot }) => snapshot?.context)).toEqual([{ count: 1 }, undefined])
  })
})

describe('a slow viewer', () => {
  test('catches up with how things are, and is told how much he missed', async () => {
    const { hub, ref, clock } = begin(1_000_000)
    const line = new Line()
    const viewer = hub.add(line, 'full')
    line.take()
    line.full = true
    for (let round = 0; round < 200; round += 1) {
      ref('a').send({ type: 'go' })
      ref('a').send({ type: 'rest' })
      ref('b').send({ type: 'count' })
      await clock.pass(100)
    }
    expect(line.told).toEqual([])
    line.full = false
    viewer.drained()
    const told = line.take()
    const states = told.filter(({ type }) => type === '@xstate.snapshot')
    expect(states.map(({ snapshot }) => snapshot?.context?.count)).toEqual([0, 200])
    const events = told.filter(({ type }) => type === '@xstate.event')
    expect(events.length).toBe(256)
    expect(events[0]?.dropped).toBe(600 - 256)
  })

  test('who takes nothing at all is given up, and nobody else with him', async () => {
    const { hub, ref, clock } = begin(1000)
    const [stuck, well] = [new Line(), new Line()]
    stuck.full = true
    hub.add(stuck, 'full')
    hub.add(well, 'full')
    await clock.pass(1500)
    expect([stuck.closed, well.closed, hub.viewers]).toEqual([expect.any(String), undefined, 1])
    well.take()
    ref('a').send({ type: 'go' })
    await clock.pass(100)
    expect(well.take()).toHaveLength(2)
  })

  test('is not owed those who came and went meanwhile', async () => {
    const { hub, ref, clock, root } = begin(1_000_000)
    const line = new Line()
    line.full = true
    const viewer = hub.add(line, 'full')
    await clock.pass(100)
    ref('a').send({ type: 'end' })
    await clock.pass(100)
    line.full = false
    viewer.drained()
    const told = line.take().filter(({ type }) => type !== '@xstate.event')
    expect(told.map(({ sessionId }) => sessionId)).toEqual([root.sessionId, ref('b').sessionId])
  })
})
