import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { embeddedPid, type MusterProcess, startMuster, startMusterNode } from '../kit/muster.ts'
import { isAlive } from '../kit/processes.ts'
import { seededRandom } from '../kit/random.ts'

const total = 20_000
const words = ['run', 'tasks.ndjson', '--json']
/** So slow that there is a middle of it. */
const env = { MUSTER_DISPATCHER_RATE: '8000', MUSTER_DISPATCHER_BURST: '1000' }

const started: MusterProcess[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.kill('SIGTERM')))
})

describe('the Redis of a data directory, killed under load', () => {
  test.each(['everysec', 'always'])(
    'comes back by itself, and the run is complete (%s)',
    async (durability) => {
      const dataDir = temporaryDirectory()
      writeFileSync(join(dataDir, 'tasks.ndjson'), '{"kind":"noop"}\n'.repeat(total))
      const random = seededRandom()
      const running = startMuster(words, {
        dataDir,
        env: { ...env, MUSTER_REDIS_DURABILITY: durability },
      })
      started.push(running)
      let rows = 0
      for (let kill = 0; kill < 2; kill += 1) {
        rows += random.integer(1, 6000)
        await eventually(() => expect(countRows(dataDir)).toBeGreaterThanOrEqual(rows), {
          timeoutMs: 20_000,
        })
        const pid = embeddedPid(dataDir)
        process.kill(pid, 'SIGKILL')
        await eventually(() => expect(isAlive(pid)).toBe(false))
        await eventually(() => expect(isAlive(embeddedPid(dataDir))).toBe(true))
      }
      const { code, out } = await running.ended
      const run = JSON.parse(out) as Run
      expect(run).toMatchObject({ state: 'completed', total, counts: { ok: total, pending: 0 } })
      expect(code).toBe(0)
      const { rows: stored, audited } = readLedger(dataDir, run.id)
      expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
      expect(audited.size).toBe(total)
    },
  )

  test('makes a node that runs not ready, until it is back', async () => {
    const dataDir = temporaryDirectory()
    const node = await startMusterNode({ dataDir })
    started.push(node)
    const ready = async () => (await fetch(`${node.url}/readyz`)).status
    expect(await ready()).toBe(200)
    const pid = embeddedPid(dataDir)
    process.kill(pid, 'SIGKILL')
    await eventually(async () => expect(await ready()).toBe(503), { intervalMs: 1 })
    await eventually(async () => expect(await ready()).toBe(200))
    expect((await node.kill('SIGTERM')).code).toBe(0)
    expect(existsSync(join(dataDir, 'redis', 'redis.sock'))).toBe(false)
  })
})
