/** The log of a node in this process: what is kept in files, and what only goes to stderr. */
import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DeadLetters } from '../../actors/dead-letters.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { loadConfig } from '../../config/load.ts'
import { type NodeLogOptions, nodeLog } from '../../runtime/log/node-log.ts'
import { testClock } from '../kit/clock.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { startRedis } from '../kit/redis.ts'
import { startNode } from './started-node.ts'

const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const { tell } = new DeadLetters({ clock: testClock(), log: quiet })

function begin(more: Partial<NodeLogOptions> = {}) {
  const dataDir = temporaryDirectory()
  const { config } = loadConfig({ fileValues: {}, env: {} })
  const stopped = Promise.withResolvers<void>()
  const meter = { dropped() {} }
  const options = { config, dataDir, listen: true, meter, stopped: stopped.promise, ...more }
  const text = () => readFileSync(join(dataDir, 'log', 'n.ndjson'), 'utf8')
  return { dataDir, stopped, text, written: nodeLog(options).written }
}

test('of a node that listens the log is the first child, and its file is there', async () => {
  const redis = await startRedis()
  const dataDir = temporaryDirectory()
  const { node, ask } = await startNode({ dataDir, node: { id: 'n' }, redis: { url: redis.url } })
  const tree = (await (await ask('/v1/tree')).json()) as TreeNode
  expect(tree.children[0]).toMatchObject({ id: 'log', state: 'idle' })
  expect(existsSync(join(dataDir, 'log', 'n.ndjson'))).toBe(true)
  await node.stop()
  await redis.stop()
})

test('of an ephemeral node, or one that does not listen, nothing is kept', () => {
  expect(begin({ ephemeral: true }).written).toBeUndefined()
  expect(begin({ listen: false }).written).toBeUndefined()
})

test('what comes when the writer is gone is written when the node has stopped', async () => {
  const { dataDir, stopped, text, written } = begin()
  written?.child('n', tell, quiet)
  written?.add('warn', '{"a":1}\n')
  written?.add('error', '{"a":2}\n')
  expect(existsSync(join(dataDir, 'log'))).toBe(false)
  stopped.resolve()
  await stopped.promise
  expect([text(), written?.depth]).toEqual(['{"a":1}\n{"a":2}\n', 0])
  written?.add('warn', 'later')
  expect(written?.depth).toBe(0)
})
