import { describe, expect, test } from 'bun:test'
import type { TreeNode } from '../../actors/tree.ts'
import type { Frame } from '../../runtime/http/inspect/page/frame.ts'
import { Actors, activeOf } from '../../runtime/http/inspect/page/model.ts'

const node = (path: string, state: string, children: TreeNode[] = []): TreeNode => {
  const id = path.slice(path.lastIndexOf('/') + 1)
  return { path, id, state, incarnation: 1, restarts: 0, pid: 1, children }
}

const actor = (sessionId: string, path: string, machine: string, value: unknown): Frame => ({
  type: '@xstate.actor',
  sessionId,
  createdAt: '1',
  path,
  machine,
  snapshot: { status: 'active', value },
})

const tree = node('/n', 'running', [
  node('/n/redis', 'connected'),
  node('/n/processes', 'running', [
    node('/n/processes/p1', 'alive', [
      node('/n/processes/p1/redis', 'away'),
      node('/n/processes/p1/workers', 'running', [
        node('/n/processes/p1/workers/work.noop', 'receiving.busy'),
      ]),
    ]),
  ]),
])

function known(): Actors {
  const actors = new Actors()
  actors.replaceTree(tree)
  actors.hear(actor('x:1', '/n', 'supervisor', 'running'))
  actors.hear(actor('x:2', '/n/redis', 'connection', 'connected'))
  return actors
}

const stateOf = (actors: Actors, path: string) => actors.stateOf(actors.find(path) ?? tree)

describe('the actors as the page knows them', () => {
  test('are in the state that was heard last; those of other processes in that of the tree', () => {
    const actors = known()
    const snapshot = { status: 'active', value: { up: 'waiting' } }
    actors.hear({ type: '@xstate.snapshot', sessionId: 'x:2', createdAt: '2', snapshot })
    expect(stateOf(actors, '/n/redis')).toBe('up.waiting')
    expect(stateOf(actors, '/n/processes/p1/redis')).toBe('away')
    // After it has ended, its supervisor knows better.
    const over = { status: 'stopped', value: 'connected' }
    actors.hear({ type: '@xstate.snapshot', sessionId: 'x:2', createdAt: '3', snapshot: over })
    expect(stateOf(actors, '/n/redis')).toBe('connected')
  })

  test('of worker processes have the charts of their like', () => {
    const actors = known()
    const machines = ['redis', 'workers', 'workers/work.noop'].map((path) =>
      actors.machineOf(`/n/processes/p1/${path}`),
    )
    expect(machines).toEqual(['connection', 'supervisor', 'worker'])
  })

  test('in their next life are not taken for those of the one before', () => {
    const actors = known()
    actors.hear(actor('x:9', '/n/redis', 'connection', 'opening'))
    const late = { status: 'error', value: 'away' }
    actors.hear({ type: '@xstate.snapshot', sessionId: 'x:2', createdAt: '3', snapshot: late })
    expect(stateOf(actors, '/n/redis')).toBe('opening')
  })

  test('are found with the way to them, and folded with all that is below', () => {
    const actors = known()
    const shown = (filter: string) => actors.rows(filter).map(({ node: { path } }) => path)
    expect(shown('')).toHaveLength(7)
    expect(shown('NOOP')).toEqual([
      '/n',
      '/n/processes',
      '/n/processes/p1',
      '/n/processes/p1/workers',
      '/n/processes/p1/workers/work.noop',
    ])
    actors.toggle('/n/processes', false)
    expect(shown('')).toEqual(['/n', '/n/redis', '/n/processes'])
    expect(shown('no such actor')).toEqual([])
  })
})

test('the active states are those a state stands in too, in regions within regions as well', () => {
  const paths = ['', 'held', 'held.deadline', 'held.deadline.counting', 'held.renewal.resting']
  expect([...activeOf('held.deadline.counting,renewal.resting', paths)].toSorted()).toEqual([
    '',
    'held',
    'held.deadline',
    'held.deadline.counting',
    'held.renewal',
    'held.renewal.resting',
  ])
})
