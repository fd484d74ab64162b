/** Two nodes of one name, and nodes that are told to go before they are up. */
import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { muster, startMuster } from '../kit/muster.ts'
import {
  endAll,
  env,
  holdersOf,
  nodes,
  signalled,
  startNode,
  startServer,
  statesOf,
  wordsOf,
} from './draining.ts'

afterEach(endAll)

describe('a node id', () => {
  const places: [string, () => [string, string]][] = [
    [
      'on one data directory',
      () => Array<string>(2).fill(temporaryDirectory()) as [string, string],
    ],
    ['on two data directories', () => [temporaryDirectory(), temporaryDirectory()]],
  ]

  test.each(places)('of a live node is refused to another one %s', async (_, makePlaces) => {
    const redis = await startServer()
    const [here, there] = makePlaces()
    const node = await startNode({ dataDir: here, redis, id: 'one' })
    const words = ['start', '--port', '0', ...wordsOf({ dataDir: there, redis, id: 'one' })]
    const since = performance.now()
    const twin = await muster(words, { dataDir: there, env })
    expect(twin.code).toBe(69)
    expect(twin.err).toContain(`pid ${node.pid}`)
    expect(twin.err).toContain('--node-id')
    expect(performance.now() - since).toBeLessThan(15_000)
    expect(await statesOf(node)).toEqual(['one alive'])
    expect((await fetch(`${node.url}/readyz`)).status).toBe(200)
  })

  test.each(places)('of a killed node is free at once %s', async (_, makePlaces) => {
    const redis = await startServer()
    const [here, there] = makePlaces()
    const node = await startNode({ dataDir: here, redis, id: 'one' })
    await eventually(async () => {
      expect(await holdersOf(node)).toEqual({ collector: 'one', coordinator: 'one' })
    })
    await node.kill()
    const since = performance.now()
    const again = await startNode({ dataDir: there, redis, id: 'one' })
    const startMs = Math.round(performance.now() - since)
    await eventually(async () => {
      expect(await holdersOf(again)).toEqual({ collector: 'one', coordinator: 'one' })
    })
    console.log(
      `up ${startMs} ms after the kill, led after ${Math.round(performance.now() - since)}`,
    )
    expect(startMs).toBeLessThan(15_000)
    expect(await statesOf(again)).toEqual(['one alive', 'one dead'])
    expect(readdirSync(join(there, 'nodes'))).toEqual(['one.json'])
  })
})

test('muster start that is told to go while it starts leaves nothing', async () => {
  const redis = await startServer()
  const dataDir = temporaryDirectory()
  const words = ['start', '--port', '0', '--redis', redis.url]
  const node = startMuster(words, { dataDir, env })
  nodes.push(node)
  await eventually(() => expect(existsSync(join(dataDir, 'results.sqlite'))).toBe(true))
  const { code, tookMs } = await signalled(node)
  expect([0, 69]).toContain(code)
  expect(tookMs).toBeLessThan(15_000)
})
