/**
 * How many requests a second? Tasks of kind `http` on a real node (sent, timed by phase, checked
 * against what is expected, accounted for, stored, logged), against a bare loop of `fetch` with as
 * many under way, and against the executor of the kind without a node around it, in turns.
 *
 *   bun bench/http.bench.ts [--quick] [--json]
 */
import { fileURLToPath } from 'node:url'
import type { ExecuteContext } from '../actors/ports.ts'
import { httpExecutor } from '../runtime/execute/http/request.ts'
import type { Run } from '../runtime/index.ts'
import { deliveryFaults } from './kit/delivery.ts'
import { comparison, inTurns, median, type Pace, slowest } from './kit/figures.ts'
import { fileOf } from './kit/lines.ts'
import { BenchNode } from './kit/node.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row } from './kit/report.ts'
import { submitAndWait } from './kit/stage.ts'
import { processorMs } from './kit/usage.ts'

const options = readOptions()
const requests = options.isQuick ? 2000 : 50_000
const rounds = options.isQuick ? 2 : 7
/** As the node by default. */
const width = 256
const faults: string[] = []

const program = fileURLToPath(new URL('./kit/http-target.ts', import.meta.url))
const target = Bun.spawn([process.execPath, program], {
  stdin: 'pipe',
  stdout: 'pipe',
})
const { value } = await target.stdout.getReader().read()
const url = new TextDecoder().decode(value).trim()
const line = JSON.stringify({ kind: 'http', input: { url, expect: { bodyMatches: '^ok$' } } })

async function pace(pid: number, work: () => Promise<number | undefined>): Promise<Pace> {
  const before = processorMs(pid)
  const begun = performance.now()
  // Muster has a clock of its own.
  const ms = (await work()) ?? performance.now() - begun
  const cpuUs = ((processorMs(pid) - before) * 1000) / requests
  return { perSecond: (requests / ms) * 1000, cpuUs }
}

/** So many at a time, each beginning the next one. */
const sideBySide = (one: (index: number) => Promise<boolean>) =>
  pace(process.pid, async () => {
    let begun = 0
    let wrong = 0
    const next = async () => {
      while (begun < requests) {
        begun += 1
        if (!(await one(begun))) wrong += 1
      }
    }
    await Promise.all(Array.from({ length: width }, next))
    if (wrong > 0) faults.push(`${wrong} requests were not answered as expected`)
    return undefined
  })

async function bareFetch(): Promise<boolean> {
  const answer = await fetch(url)
  return answer.status === 200 && /^ok$/u.test(await answer.text())
}

const executor = httpExecutor({ timeoutMs: 10_000, bytesMax: 2 ** 20, linkLocal: 'refuse' })
const { signal } = new AbortController()
const input = { url, expect: { bodyMatches: '^ok$' } }
async function byExecutor(seq: number): Promise<boolean> {
  const context: ExecuteContext = { run: 'r-bench', seq, kind: 'http', attempt: 1, signal }
  return (await executor.run({ input }, context)).outcome === 'ok'
}

const node = await BenchNode.start()
const file = await fileOf(line, requests)

async function muster(): Promise<Pace> {
  let run: Run | undefined
  const measured = await pace(node.pid, async () => {
    run = await submitAndWait(node, Bun.file(file).stream())
    return (run.finishedAt ?? Number.NaN) - run.createdAt
  })
  if (run !== undefined) faults.push(...(await deliveryFaults(node, run, requests)))
  return measured
}

const titles = {
  muster: 'Muster, kind http',
  executor: 'its executor alone',
  fetch: 'a loop of fetch',
}
let paces: Record<string, Pace[]> = {}
try {
  await executor.start()
  await submitAndWait(node, Bun.file(await fileOf(line, 500)).stream())
  paces = await inTurns(rounds, {
    muster,
    executor: () => sideBySide(byExecutor),
    fetch: () => sideBySide(bareFetch),
  })
} finally {
  await executor.stop()
  await node.stop()
  await target.stdin.end()
}

const rows = (Object.keys(titles) as (keyof typeof titles)[]).map((way): Row => {
  const all = paces[way] ?? []
  const rates = all.map(({ perSecond }) => perSecond)
  const cpuUs = median(all.map((one) => one.cpuUs))
  return {
    what: titles[way],
    rounds: all.length,
    rate: median(rates),
    slowest: slowest(rates),
    cpuUs,
  }
})
const against = (way: keyof typeof titles) =>
  comparison(paces[way] ?? [], paces['fetch'] ?? []).throughput
await publish(
  {
    bench: 'http',
    columns: [
      { key: 'what', title: `${requests} requests to a server on this machine` },
      { key: 'rounds', title: 'rounds' },
      { key: 'rate', title: 'requests/s' },
      { key: 'slowest', title: 'p99 (slowest)' },
      { key: 'cpuUs', title: 'CPU a request', unit: 'µs' },
    ],
    rows,
    ratios: {
      'Muster ÷ fetch': against('muster'),
      'executor of Muster ÷ fetch': against('executor'),
    },
    notes: [`${width} at a time each; Muster by the run's own clock, every request found once`],
    faults,
  },
  options,
)
