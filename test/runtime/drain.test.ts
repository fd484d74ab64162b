import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NodeLine } from '../../actors/membership.ts'
import { connect } from '../../runtime/client.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows } from '../kit/ledger.ts'
import {
  type MusterProcess,
  muster,
  nodeFiles,
  startMuster,
  startMusterNode,
} from '../kit/muster.ts'
import { isAlive } from '../kit/processes.ts'
import { answerOf, noops, problemOf, sleepLine, startNode, worlds } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(options: Parameters<typeof startMusterNode>[0]) {
  const node = await startMusterNode(options)
  cleanups.push(() => node.kill('SIGTERM'))
  return node
}

describe.each(worlds)('a node %s', (_, open) => {
  test('asked to drain answers, finishes what it runs, takes no more and goes', async () => {
    const { node: started, redis } = await open()
    if (redis !== undefined) cleanups.push(() => redis.stop())
    const { node, url, submit, ask, get } = started
    cleanups.push(() => node.stop(0))
    const { run } = await answerOf(await submit(sleepLine(4000)))
    await eventually(() => expect(node.heartbeat().load).toBe(1))
    const client = await connect({ url })
    const [{ id, boot } = { id: '', boot: '' }] = await client.nodes()
    const answer = { id, boot, state: 'draining' }
    expect(await client.drain(id, { reason: 'a new disk' })).toEqual(answer as never)
    const ready = await ask('/readyz')
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: 'not ready', reasons: ['draining'] },
    ])
    const refused = await submit(noops(1))
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(await problemOf(refused)).toMatchObject({ status: 503, code: 'NOT_ACCEPTING_DRAINING' })
    expect(await client.drain(id)).toMatchObject({ noop: true })
    await eventually(async () => expect((await client.nodes())[0]?.state).toBe('draining'))
    expect((await get(run)).counts).toMatchObject({ pending: 1 })
    expect(await node.stopped).toBe(0)
  })
})

test('an idle node in memory answers whoever asks it to drain before it is gone', async () => {
  for (let round = 0; round < 20; round += 1) {
    const { node, url } = await startNode({ ephemeral: true })
    const client = await connect({ url })
    const [{ id } = { id: '' }] = await client.nodes()
    expect(await client.drain(id)).toMatchObject({ id, state: 'draining' })
    expect(await node.stopped).toBe(0)
  }
})

describe('muster stop', () => {
  test('ends the node of the data directory once it has finished what it runs', async () => {
    const dataDir = temporaryDirectory()
    const node = await start({ dataDir })
    const stdin = sleepLine(800)
    expect((await muster(['submit', '-'], { dataDir, stdin })).code).toBe(0)
    const { code, out, err } = await muster(['stop', '--reason', 'moving\nhouse'], { dataDir })
    expect([code, out]).toEqual([0, ''])
    expect(err).toContain('is gone')
    expect([isAlive(node.pid), nodeFiles(dataDir)]).toEqual([false, []])
    expect(countRows(dataDir)).toBe(1)
    const ended = await node.ended
    expect(ended.code).toBe(0)
    expect(ended.out + ended.err).toContain('"reason":"moving\\nhouse"')
  })

  test('without a node says so, exit 69', async () => {
    const { code, err } = await muster(['stop'], { dataDir: temporaryDirectory() })
    expect(code).toBe(69)
    expect(err).toContain('no node is running on')
  })

  test('does not choose between two, and ends the one of --url', async () => {
    const dataDir = temporaryDirectory()
    const left = await start({ dataDir, words: ['--node-id', 'left'] })
    const right = await start({ dataDir, words: ['--node-id', 'right'] })
    const which = await muster(['stop'], { dataDir })
    expect(which.code).toBe(64)
    expect(which.err).toContain('left, right: muster drain NODE')
    const { code, err } = await muster(['stop', '--url', left.url], { dataDir })
    expect([code, err.includes('node left is gone')]).toEqual([0, true])
    expect((await left.ended).code).toBe(0)
    expect(isAlive(right.pid)).toBe(true)
  })

  test('names the process of a node that does not answer', async () => {
    const dataDir = temporaryDirectory()
    const node = await start({ dataDir })
    process.kill(node.pid, 'SIGSTOP')
    try {
      const { code, err } = await muster(['stop'], { dataDir })
      expect([code, err.includes(`kill ${node.pid}`)]).toEqual([69, true])
    } finally {
      process.kill(node.pid, 'SIGCONT')
    }
  })

  test('stops waiting when its time is over, and the node goes on draining', async () => {
    const dataDir = temporaryDirectory()
    const node = await start({ dataDir })
    expect((await muster(['submit', '-'], { dataDir, stdin: sleepLine(11_000) })).code).toBe(0)
    const { code, err } = await muster(['stop', '--timeout', '2500ms'], { dataDir })
    expect([code, err.includes('it goes on draining')]).toEqual([124, true])
    expect(isAlive(node.pid)).toBe(true)
    const waiting = startMuster(['stop'], { dataDir })
    await eventually(() => expect(waiting.err).toContain('is draining already'), {
      timeoutMs: 20_000,
    })
    expect((await waiting.kill('SIGINT')).code).toBe(130)
    expect((await node.ended).code).toBe(0)
  })
})

describe('muster drain', () => {
  const nodesOf = async (url: string): Promise<NodeLine[]> => (await connect({ url })).nodes()

  test('of a node that is not there exits 66', async () => {
    const dataDir = temporaryDirectory()
    await start({ dataDir })
    const { code, err } = await muster(['drain', 'nobody'], { dataDir })
    expect(code).toBe(66)
    expect(err).toContain('there is no node nobody')
  })

  test('--no-wait returns at once', async () => {
    const dataDir = temporaryDirectory()
    const node = await start({ dataDir, words: ['--node-id', 'left'] })
    expect((await muster(['submit', '-'], { dataDir, stdin: sleepLine(6000) })).code).toBe(0)
    const { code } = await muster(['drain', 'left', '--no-wait'], { dataDir })
    expect(code).toBe(0)
    expect((await nodesOf(node.url))[0]?.state).toBe('draining')
    expect((await node.ended).code).toBe(0)
  })

  test('reaches the node inside a `muster run`, which leaves as by Ctrl-C', async () => {
    const dataDir = temporaryDirectory()
    const file = join(dataDir, 'tasks.ndjson')
    writeFileSync(file, sleepLine(300).repeat(20_000))
    const running: MusterProcess = startMuster(['run', file], { dataDir })
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(0), { timeoutMs: 20_000 })
    const node = await start({ dataDir, words: ['--node-id', 'other'] })
    const inside = await eventually(
      async () => {
        const found = (await nodesOf(node.url)).find(({ id }) => id !== 'other')
        expect(found?.pid).toBe(running.pid)
        return found
      },
      { timeoutMs: 20_000 },
    )
    const { code, err } = await muster(['drain', inside?.id ?? ''], { dataDir })
    expect([code, err.includes('is gone')]).toEqual([0, true])
    const left = await running.ended
    expect(left.code).toBe(130)
    expect(left.err).toContain('the same command')
  })
})
