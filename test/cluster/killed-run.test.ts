import { describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import { muster, startMuster } from '../kit/muster.ts'
import { seededRandom } from '../kit/random.ts'

const total = 30_000
/** So slow that there is a middle of it to be killed in. */
const env = { MUSTER_DISPATCHER_RATE: '15000', MUSTER_DISPATCHER_BURST: '1000' }

describe('a command that is killed', () => {
  test('three times in mid-run is finished by the same command, exactly', async () => {
    const dataDir = temporaryDirectory()
    const random = seededRandom()
    const lines = Array.from({ length: total }, (_, seq) => `{"kind":"noop","id":"n${seq}"}\n`)
    writeFileSync(join(dataDir, 'tasks.ndjson'), lines.join(''))
    const words = ['run', 'tasks.ndjson', '--json']
    let rows = 0
    for (let kill = 0; kill < 3; kill += 1) {
      rows += random.integer(1, 6000)
      const killed = startMuster(words, { dataDir, env })
      await eventually(() => expect(countRows(dataDir)).toBeGreaterThanOrEqual(rows), {
        timeoutMs: 60_000,
        intervalMs: 2,
      })
      expect((await killed.kill()).code).toBe(137)
    }
    const last = await muster(words, { dataDir, env })
    const run = JSON.parse(last.out) as Run
    expect({ code: last.code, state: run.state, total: run.total }).toEqual({
      code: 0,
      state: 'completed',
      total,
    })
    expect(run.counts).toMatchObject({ ok: total, failed: 0, dead: 0, pending: 0 })
    const { rows: stored, audited } = readLedger(dataDir, run.id)
    expect(stored.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
    expect(audited.size).toBe(total)
    expect(countRows(dataDir)).toBe(total)
  })
})
