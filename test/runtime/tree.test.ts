/** `muster tree`, of a node that says what the test wants. */
import { afterAll, expect, test } from 'bun:test'
import type { TreeNode } from '../../actors/tree.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { musterIn } from './cli-process.ts'

const node = (id: string, over: Partial<TreeNode> = {}): TreeNode => ({
  path: `/${id}`,
  id,
  state: 'running',
  incarnation: 1,
  restarts: 0,
  pid: 100,
  children: [],
  ...over,
})

const tree = node('n-1', {
  children: [
    node('redis', { state: 'connected' }),
    node('processes', {
      children: [
        node('cpu-1', {
          state: 'running.heard',
          pid: 200,
          incarnation: 2,
          restarts: 1,
          heardMs: 12_300,
          lastError: '150 died',
          children: [
            node('workers', {
              pid: 200,
              children: [
                node('work.sleep', { state: 'receiving.busy', pid: 200, oldestMessageMs: 3210 }),
                node('work.noop', { pid: 200, restarts: 2, oldestMessageMs: 0 }),
              ],
            }),
          ],
        }),
        node('process-2', {
          state: 'backingOff',
          pid: 100,
          heardMs: 900,
          lastError: 'no\u001b[31m\nway',
        }),
      ],
    }),
    node('edge'),
  ],
})

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: ({ url }) =>
    new URL(url).pathname === '/v1/tree' ? Response.json(tree) : new Response('', { status: 404 }),
})
afterAll(() => server.stop(true))
const muster = musterIn(temporaryDirectory())
const url = `http://127.0.0.1:${server.port}`

test('it shows incarnations, pids where they change, restarts, how old its words are', async () => {
  const { code, out } = await muster(['tree', '--url', url])
  expect(code).toBe(0)
  expect(out.split('\n')).toEqual([
    'n-1  running  pid 100',
    '├ redis  connected',
    '├ processes  running',
    '│ ├ cpu-1 #2  running.heard  pid 200  restarted once  heard 12.3 s ago  150 died',
    '│ │ └ workers  running',
    '│ │   ├ work.sleep  receiving.busy  oldest message 3.2 s',
    '│ │   └ work.noop  running  restarted 2 times  oldest message 0 ms',
    '│ └ process-2  backingOff  no�[31m way',
    '└ edge  running',
    '',
  ])
})

test('as JSON it is the tree as the node tells it', async () => {
  const { code, out } = await muster(['tree', '--url', url, '--json'])
  expect([code, JSON.parse(out)]).toEqual([0, tree])
})
