import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import {
  type MusterProcess,
  muster,
  nodeFiles,
  startMuster,
  startMusterNode,
} from '../kit/muster.ts'
import { isAlive } from '../kit/processes.ts'

const total = 30_000
const lines = (count: number) => '{"kind":"noop"}\n'.repeat(count)
/** So slow that most of a run waits in its spool when its node is killed. */
const env = {
  MUSTER_DISPATCHER_RATE: '8000',
  MUSTER_DISPATCHER_BURST: '1000',
  MUSTER_DISPATCHER_QUEUE_MAX: '2000',
}

const nodes: MusterProcess[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.kill('SIGTERM')))
})

async function startNode(options: Parameters<typeof startMusterNode>[0]) {
  const node = await startMusterNode(options)
  nodes.push(node)
  return node
}

async function runOf(url: string, run: string): Promise<Run> {
  return (await (await fetch(`${url}/v1/runs/${run}`)).json()) as Run
}

function expectWhole(dataDir: string, run: string): void {
  const { rows, audited } = readLedger(dataDir, run)
  expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
  expect(audited.size).toBe(total)
}

describe('a node that is killed', () => {
  test('in mid-run leaves a run that the next node finishes by itself', async () => {
    const dataDir = temporaryDirectory()
    const first = await startNode({ dataDir, env })
    const submitted = await muster(['submit', '-', '--json'], { dataDir, stdin: lines(total) })
    const { run, accepted } = JSON.parse(submitted.out) as { run: string; accepted: number }
    expect([submitted.code, accepted]).toEqual([0, total])
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(3000))
    await first.kill()
    const rows = countRows(dataDir)
    expect(rows).toBeLessThan(total)
    const second = await startNode({ dataDir })
    const watched = await muster(['watch', run, '--json'], { dataDir })
    expect(watched.code).toBe(0)
    expect(await runOf(second.url, run)).toMatchObject({
      state: 'completed',
      total,
      counts: { ok: total, pending: 0 },
    })
    expectWhole(dataDir, run)
  })

  test('while it reads a source keeps what it took, and the source can be read again', async () => {
    const dataDir = temporaryDirectory()
    writeFileSync(join(dataDir, 'tasks.ndjson'), lines(total))
    const first = await startNode({ dataDir, env: { ...env, MUSTER_DISPATCHER_SPOOL_MAX: '2000' } })
    const waiting = startMuster(['run', 'tasks.ndjson', '--json'], { dataDir })
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(3000))
    await first.kill()
    const lost = await waiting.ended
    expect(lost.code).toBe(69)
    const second = await startNode({ dataDir })
    const again = await muster(['run', 'tasks.ndjson', '--json'], { dataDir })
    const run = JSON.parse(again.out) as Run
    expect([again.code, run.counts.ok, run.total]).toEqual([0, total, total])
    const { items } = (await (await fetch(`${second.url}/v1/runs`)).json()) as { items: Run[] }
    expect(items.map(({ id }) => id)).toEqual([run.id])
    expectWhole(dataDir, run.id)
  })

  test('by its own task loses that task alone, as dead', async () => {
    const dataDir = temporaryDirectory()
    writeFileSync(
      join(dataDir, 'tasks.ts'),
      `import { defineTask } from 'muster'
       import { z } from 'zod'
       export default defineTask({
         kind: 'moody', input: z.object({ mood: z.enum(['fine', 'exit', 'kill']) }),
         run({ mood }) {
           if (mood === 'exit') process.exit(1)
           if (mood === 'kill') process.kill(process.pid, 'SIGKILL')
         } })`,
    )
    const moods = Array.from({ length: 40 }, (_, seq) =>
      seq === 13 ? 'exit' : seq === 27 ? 'kill' : 'fine',
    )
    // Delayed, for whoever submits them wants an answer before the node dies.
    const line = (mood: string) => `{"kind":"moody","input":{"mood":"${mood}"},"delayMs":500}\n`
    const stdin = moods.map(line).join('')
    // A lock that ran out before the next one is up would pass for one lost by a slow node.
    const locks = { MUSTER_MAILBOX_LOCK_MS: '30000', MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000' }
    const options = { dataDir, env: locks, words: ['--tasks', 'tasks.ts'] }
    const first = await startNode(options)
    const submitted = await muster(['submit', '-'], { dataDir, stdin })
    expect(submitted.code).toBe(0)
    const run = submitted.out.trim()
    /** The run when it is over, undefined when the node has died before. */
    const doneBy = ({ pid }: MusterProcess) =>
      eventually(
        async () => {
          if (!isAlive(pid)) return undefined
          // The next one may die before it can be reached.
          const url = nodeFiles(dataDir).find((file) => file.pid === pid)?.url
          const now = url === undefined ? undefined : await runOf(url, run).catch(() => undefined)
          expect(now?.finishedAt).toBeDefined()
          return now
        },
        { timeoutMs: 30_000 },
      )
    let deaths = 0
    let done = await doneBy(first)
    for (; done === undefined && deaths < 20; deaths += 1) {
      const next = startMuster(['start', '--port', '0', ...options.words], options)
      nodes.push(next)
      done = await doneBy(next)
    }
    expect(done?.counts).toMatchObject({ ok: 38, dead: 2, pending: 0 })
    expect(deaths).toBeWithin(4, 9)
    const { rows } = readLedger(dataDir, run)
    const dead = rows.filter(({ outcome }) => outcome !== 'ok').map(({ seq }) => seq)
    expect(dead).toEqual([13, 27])
  })
})
