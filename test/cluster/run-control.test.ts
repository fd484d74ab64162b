/** Runs that are cancelled, paused, halted, windowed and tried again, by real commands. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { counted } from '../kit/counted.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'

type Node = MusterProcess & { url: string }

const dataDir = temporaryDirectory()
const counts = join(dataDir, 'counts')
let node: Node
beforeAll(async () => {
  node = await start()
})
afterAll(async () => {
  await node.kill('SIGTERM')
  endProcessesIn(dataDir)
})

const start = () =>
  startMusterNode({
    dataDir,
    words: ['--tasks', join(import.meta.dir, '../kit/counted.ts')],
    env: { COUNTS: counts, MUSTER_WORKER_CONCURRENCY: '16' },
  })
const say = (words: string[], stdin = '') =>
  muster([...words, '--url', node.url], { dataDir, stdin })
const lines = (tasks: readonly object[]) =>
  tasks.map((task) => `${JSON.stringify(task)}\n`).join('')
const many = (count: number, task: (seq: number) => object) =>
  lines(Array.from({ length: count }, (_, seq) => task(seq)))

async function submit(stdin: string, words: string[] = []): Promise<string> {
  const { code, out } = await say(['submit', '-', ...words], stdin)
  expect(code).toBe(0)
  return out.trim()
}
async function show(run: string): Promise<Run> {
  return JSON.parse((await say(['show', run, '--json'])).out) as Run
}
const over = (run: string) =>
  eventually(
    async () => {
      const now = await show(run)
      if (now.finishedAt === undefined) throw new Error(JSON.stringify(now))
      return now
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  )
async function results(run: string): Promise<ResultLine[]> {
  const { out } = await say(['results', run, '--json'])
  const text = out.trimEnd()
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as ResultLine)
}

/** Pids of the processes that have this among their arguments. */
function processesWith(word: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(Number.isInteger)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word)
      } catch {
        return false
      }
    })
}

describe('a run on a node', () => {
  test('is cancelled: its commands are gone, and all of its tasks are accounted for', async () => {
    const word = `${1000 + Math.random()}`
    const run = await submit(many(60, () => ({ kind: 'exec', input: { argv: ['sleep', word] } })))
    await eventually(() => expect(processesWith(word).length).toBeGreaterThan(0))
    const { code, out } = await say(['cancel', run, '--reason', 'enough of it', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      id: run,
      state: 'cancelled',
      stopReason: 'enough of it',
      counts: { cancelled: 60, pending: 0 },
    })
    expect(processesWith(word)).toEqual([])
    expect((await results(run)).length).toBe(60)
    expect(await say(['watch', run])).toMatchObject({ code: 1 })
    expect(await say(['cancel', run])).toMatchObject({ code: 65 })
    expect(await say(['pause', run])).toMatchObject({ code: 65 })
    expect(await say(['resume', 'r-00000000'])).toMatchObject({ code: 66 })
  })

  test('is paused, survives its node, and goes on where it was', async () => {
    // So many that it is still under way when the command to pause it has started.
    const total = 600
    const tasks = many(total, (seq) => ({
      kind: counted.kind,
      key: `k-${seq % 3}`,
      id: `t-${seq}`,
    }))
    const run = await submit(tasks)
    const asked = async () => (await (await fetch(`${node.url}/v1/runs/${run}`)).json()) as Run
    await eventually(async () => expect((await asked()).counts.ok).toBeGreaterThan(3))
    const paused = await say(['pause', run, '--reason', 'lunch', '--json'])
    expect(JSON.parse(paused.out)).toMatchObject({ state: 'paused', stopReason: 'lunch' })
    await eventually(async () => {
      const before = (await asked()).counts.ok
      const { counts: after } = await show(run)
      expect(after.ok).toBe(before)
      expect(after.pending).toBeGreaterThan(0)
    })
    await node.kill()
    node = await start()
    expect((await show(run)).state).toBe('paused')
    const { pending } = (await show(run)).counts
    expect(pending).toBeGreaterThan(0)
    const { out } = await say(['resume', run, '--json'])
    expect((JSON.parse(out) as Run).state).toBe('running')
    expect(await over(run)).toMatchObject({ state: 'completed', counts: { ok: total } })
    const all = await results(run)
    expect(all.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
    for (const key of [0, 1, 2]) {
      const times = all.filter(({ seq }) => seq % 3 === key).map(({ startedAt }) => startedAt)
      expect(times).toEqual(times.toSorted((a, b) => a - b))
    }
  })

  test.each([
    ['5', 5],
    ['10%', 4],
  ])('with --window %s never has more of its tasks at work', async (window, most) => {
    writeFileSync(counts, '')
    const tasks = many(40, () => ({ kind: counted.kind }))
    const { code } = await say(['run', '-', '--window', window], tasks)
    expect(code).toBe(0)
    const seen = readFileSync(counts, 'utf8').trimEnd().split('\n').map(Number)
    expect(seen.length).toBe(40)
    expect(Math.max(...seen)).toBeLessThanOrEqual(most)
    expect(Math.max(...seen)).toBeGreaterThan(most / 2)
  })

  test('is tried again: what is not ok, or what is, in a run of its own', async () => {
    const exec = (argv: string[]) => ({ kind: 'exec', input: { argv } })
    const tasks = [
      { ...exec(['true']), id: 'a' },
      { ...exec(['false']), id: 'b', priority: 'high', labels: { x: 'y' } },
      { ...exec(['true']), id: 'c', dependsOn: ['a', 'b'] },
      { ...exec(['true']), id: 'd', dependsOn: ['a'], key: 'k' },
    ]
    const run = await submit(lines(tasks))
    expect((await over(run)).counts).toMatchObject({ ok: 2, failed: 1, unreached: 1 })
    const again = (await say(['retry', run, '--reason', 'once more'])).out.trim()
    expect(await over(again)).toMatchObject({
      parent: run,
      reason: 'once more',
      total: 2,
      counts: { failed: 1, unreached: 1 },
    })
    expect((await results(again)).map(({ id }) => id)).toEqual(['b', 'c'])
    const fine = (await say(['retry', run, '--ok'])).out.trim()
    expect(await over(fine)).toMatchObject({ parent: run, counts: { ok: 2 } })
    expect((await results(fine)).map(({ id }) => id)).toEqual(['a', 'd'])
  })

  test('is not tried again before it is over', async () => {
    const run = await submit(lines([{ kind: 'sleep', input: { ms: 60_000 } }]))
    expect(await say(['retry', run])).toMatchObject({ code: 65 })
    const response = await fetch(`${node.url}/v1/runs/${run}/retry`, { method: 'POST' })
    expect([response.status, await response.json()]).toEqual([
      409,
      expect.objectContaining({ code: 'ILLEGAL_TRANSITION' }),
    ])
    expect(await say(['cancel', run])).toMatchObject({ code: 0 })
    expect(await say(['retry', 'r-00000000'])).toMatchObject({ code: 66 })
  })

  test('runs a chain of tasks, one after the other', async () => {
    const chain = many(200, (seq) => ({
      kind: 'noop',
      id: `t-${seq}`,
      ...(seq === 0 ? {} : { dependsOn: [`t-${seq - 1}`] }),
    }))
    const run = await submit(chain)
    expect((await over(run)).counts).toMatchObject({ ok: 200 })
    const starts = (await results(run)).map(({ startedAt }) => startedAt)
    expect(starts).toEqual(starts.toSorted((a, b) => a - b))
  })

  test.each([
    ['--halt', 'later,fail=2'],
    ['--halt', 'now,fail=0'],
    ['--window', '101%'],
    ['--window', '0'],
  ])('is not begun with %s %s', async (flag, limit) => {
    const told = await say(['run', '-', flag, limit], '{"kind":"noop"}\n')
    expect(told).toMatchObject({ code: 64, out: '' })
    expect(told.err).toContain(flag.slice(2))
  })
})

describe('a run in a process of its own', () => {
  test('with --halt now,fail=1 ends at once, with 4, and so does all that ran', async () => {
    const folder = temporaryDirectory()
    const word = `${1000 + Math.random()}`
    const tasks = lines([
      { kind: 'exec', input: { argv: ['false'] } },
      ...Array.from({ length: 10 }, () => ({ kind: 'exec', input: { argv: ['sleep', word] } })),
      ...Array.from({ length: 10 }, () => ({ kind: 'sleep', input: { ms: 600_000 } })),
    ])
    const words = ['run', '-', '--halt', 'now,fail=1', '--json']
    const { code, out } = await muster(words, { dataDir: folder, stdin: tasks })
    expect(code).toBe(4)
    const run = JSON.parse(out) as Run
    expect(run).toMatchObject({ state: 'halted', total: 21 })
    expect(run.stopReason).toContain('fail=1')
    const { failed, cancelled, unreached } = run.counts
    expect([failed, cancelled + unreached]).toEqual([1, 20])
    expect(run.durationMs).toBeLessThan(15_000)
    expect(processesWith(word)).toEqual([])
    endProcessesIn(folder)
  })
})
