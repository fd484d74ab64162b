/** How the containers of a node are doing is in its `/metrics`, and in `muster top`. */
import { afterEach, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { TopFrame } from '../../runtime/cli/top-frame.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { readExposition } from '../runtime/exposition.ts'

const dataDir = temporaryDirectory()
let node: (MusterProcess & { url: string }) | undefined
afterEach(async () => {
  await node?.kill('SIGTERM')
  endProcessesIn(dataDir)
})

const container = (script: string, timeoutMs = 60_000) => {
  const argv = ['sh', '-c', script]
  return `${JSON.stringify({ kind: 'container', input: { image: 'any', argv }, timeoutMs })}\n`
}

test('containers of all worker processes count, those of a killed one no longer', async () => {
  // What makes them does not matter here, so they are none: that needs no rights.
  const env = {
    MUSTER_WORKER_CONTAINER_MODE: 'host',
    MUSTER_WORKER_CONTAINER_SLOTS: '3',
    MUSTER_WORKER_CONTAINER_CHECKOUT_MS: '60000',
    MUSTER_WORKER_ENVELOPE_TASKS_MAX: '1',
  }
  const started = await startMusterNode({ dataDir, env, words: ['--processes', '2'] })
  node = started
  const { url } = started
  const say = (words: string[], stdin = '') => muster([...words, '--url', url], { dataDir, stdin })
  const scrape = async () => readExposition(await (await fetch(`${url}/metrics`)).text())
  const top = async () => JSON.parse((await say(['top', '--json', '--once'])).out) as TopFrame
  expect((await scrape()).value('muster_container_slots', { state: 'leased' })).toBeUndefined()
  expect((await top()).containers).toBeUndefined()

  expect((await say(['run', '-'], container('exit 0').repeat(10))).code).toBe(0)
  await eventually(async () => {
    const { value } = await scrape()
    expect(value('muster_container_checkout_seconds_count')).toBe(10)
    expect(value('muster_container_resets_total', { outcome: 'ok' })).toBe(10)
    expect(value('muster_container_make_failures_total')).toBe(0)
    expect(value('muster_container_slots', { state: 'leased' })).toBe(0)
    expect(value('muster_container_slots', { state: 'available' })).toBePositive()
    expect(value('muster_container_waiting')).toBe(0)
  })

  const go = join(dataDir, 'go')
  const waits = container(`until [ -e ${go} ]; do sleep 0.05; done`)
  const run = (await say(['submit', '-'], waits.repeat(2))).out.trim()
  await eventually(async () => {
    expect((await scrape()).value('muster_container_slots', { state: 'leased' })).toBe(2)
  })
  const { containers } = await top()
  expect([containers?.leased, containers?.waiting]).toEqual([2, 0])
  expect((await say(['top', '--once'])).out).toMatch(/^containers: \d available, 2 leased, /m)

  const tree = (await (await fetch(`${url}/v1/tree`)).json()) as {
    children: { id: string; children: { pid: number }[] }[]
  }
  const processes = tree.children.find(({ id }) => id === 'processes')?.children ?? []
  expect(processes).toHaveLength(2)
  for (const { pid } of processes) process.kill(pid, 'SIGKILL')
  await Bun.write(go, '')
  expect((await say(['watch', run])).code).toBe(0)
  // What the killed ones had would be counted as leased for ever.
  await eventually(async () => {
    const { value } = await scrape()
    expect(value('muster_restarts_total', { child: 'process-1' })).toBe(1)
    expect(value('muster_container_slots', { state: 'leased' })).toBe(0)
    expect(value('muster_container_slots', { state: 'available' })).toBePositive()
  })
}, 120_000)
