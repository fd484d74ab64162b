/** A profile, part by part. */
import { expect, test } from 'bun:test'
import { partsOf } from '../../bench/kit/profile.ts'

const at = (id: number, url: string, children: number[] = []) => ({
  id,
  callFrame: { functionName: '', url },
  children,
})

test('what Bun does counts for the innermost file that asked for it, or for nobody', () => {
  const nodes = [
    at(1, '', [2, 5]),
    at(2, 'file:///x/node_modules/xstate/dist/a.js', [3]),
    at(3, 'file:///x/runtime/store/sqlite.ts', [4]),
    at(4, 'node:fs'),
    at(5, ''),
  ]
  expect(partsOf({ nodes, samples: [4, 3, 2, 5, 4, 4, 3, 3, 2, 2] })).toEqual([
    { part: 'collector: rows and audit lines', share: 0.6 },
    { part: 'statecharts, supervision', share: 0.3 },
    { part: 'Bun itself: sockets, timers, collections', share: 0.1 },
  ])
})
