/**
 * What does counting cost? 100 000 noop tasks through a whole node in memory, where nothing else
 * takes long, with what is counted for `/metrics` and without it: in turns, each in a process of
 * its own, by the processor time that it takes. On a busy machine such pairs differ by more than
 * counting can cost, so that is measured on its own as well. And an answer of `/metrics` after.
 *
 *   bun bench/metrics.bench.ts [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ending } from '../actors/settlement.ts'
import { createNode } from '../runtime/index.ts'
import { Telemetry } from '../runtime/telemetry/telemetry.ts'

const tasks = 100_000
const warmUpTasks = 20_000
const runsEach = 5
const pairs = 10
const oneLimitMs = 60_000

interface Figures {
  taskUs: number
  scrapeMs: number
}

/** As if nobody counted. */
function countNothing(): void {
  const { prototype } = Telemetry
  prototype.timing = (mailboxes) => mailboxes
  for (const deed of ['taken', 'released', 'settled', 'counted', 'aggregated'] as const) {
    prototype[deed] = () => undefined
  }
}

/** The cheapest of some runs in this process. */
async function measure(): Promise<Figures> {
  const dataDir = mkdtempSync(join(tmpdir(), 'metrics-bench-'))
  const node = await createNode({ ephemeral: true, dataDir, listen: false })
  await node.start()
  const ask = (path: string, init?: RequestInit) =>
    node.fetch(new Request(`http://localhost${path}`, init))
  const run = async (count: number): Promise<number> => {
    const headers = { 'content-type': 'application/x-ndjson' }
    const body = '{"kind":"noop"}\n'.repeat(count)
    const before = process.cpuUsage()
    const answer = await ask('/v1/runs', { method: 'POST', body, headers })
    const { run: id } = (await answer.json()) as { run: string }
    // The events end with the run.
    await (await ask(`/v1/runs/${id}/events`)).text()
    const { user, system } = process.cpuUsage(before)
    return user + system
  }
  await run(warmUpTasks)
  const runs: number[] = []
  while (runs.length < runsEach) runs.push(await run(tasks))
  await (await ask('/metrics')).text()
  const began = performance.now()
  for (let round = 0; round < 20; round += 1) await (await ask('/metrics')).text()
  const scrapeMs = (performance.now() - began) / 20
  await node.stop(0)
  rmSync(dataDir, { recursive: true })
  return { taskUs: Math.min(...runs) / tasks, scrapeMs }
}

/** Nanoseconds a task of what is counted for an envelope of 1000: taken, settled, accounted for. */
function countAlone(): number {
  const size = 1000
  const execution = { outcome: 'ok' } as const
  const ending = { outcome: 'ok', startedAt: 0, durationMs: 0.003, execution, attempt: 1 } as const
  const endings = Array.from(
    { length: size },
    (_, seq): Ending => ({ ...ending, seq, task: { input: {} }, history: [] }),
  )
  const outcomes = endings.map(({ outcome }) => outcome)
  const settlement = { run: 'r', id: 's', mailbox: 'work.noop', seqs: [], outcomes }
  const telemetry = new Telemetry()
  const count = (envelopes: number) => {
    for (let done = 0; done < envelopes; done += 1) {
      telemetry.taken('work.noop', size, 5)
      telemetry.settled('work.noop', 'noop', endings, 0)
      telemetry.released('work.noop')
      telemetry.counted('noop', settlement, { fresh: size })
    }
  }
  count(2000)
  const before = process.cpuUsage()
  count(5000)
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / 5000 / size
}

function measureElsewhere(how: 'with' | 'without'): Figures {
  const argv = [process.execPath, import.meta.path, '--one', how]
  const { stdout } = Bun.spawnSync(argv, { stderr: 'inherit', timeout: oneLimitMs })
  return JSON.parse(stdout.toString()) as Figures
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

function compare(): void {
  const all = Array.from({ length: pairs }, (_, index) => {
    // Who comes second may find a warmer machine.
    if (index % 2 === 0) return { on: measureElsewhere('with'), off: measureElsewhere('without') }
    const off = measureElsewhere('without')
    return { on: measureElsewhere('with'), off }
  })
  const figures = {
    withUs: median(all.map(({ on }) => on.taskUs)),
    withoutUs: median(all.map(({ off }) => off.taskUs)),
    ratio: median(all.map(({ on, off }) => on.taskUs / off.taskUs)),
    countingNs: countAlone(),
    scrapeMs: median(all.map(({ on }) => on.scrapeMs)),
  }
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify({ bench: 'metrics', tasks, pairs, ...figures }))
    return
  }
  console.log(`medians of ${pairs} pairs, ${tasks} noop tasks each`)
  console.log(`a task, counted        ${figures.withUs.toFixed(2)} µs`)
  console.log(`a task, not counted    ${figures.withoutUs.toFixed(2)} µs`)
  console.log(`ratio of the pairs     ${figures.ratio.toFixed(3)}`)
  console.log(`counting a task alone  ${figures.countingNs.toFixed(0)} ns`)
  console.log(`an answer of /metrics  ${figures.scrapeMs.toFixed(2)} ms`)
}

const one = process.argv.indexOf('--one')
if (one < 0) compare()
else {
  if (process.argv[one + 1] === 'without') countNothing()
  console.log(JSON.stringify(await measure()))
  process.exit(0)
}
