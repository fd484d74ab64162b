/**
 * What does it cost a node to know how well it is? The score alone; a sample for the windows of the
 * audit, and what an audit reads from a full quarter hour of them; an answer of `GET /v1/audit`;
 * and the sensors by themselves, in a process that does nothing else.
 *
 *   bun bench/audit.bench.ts [--quick] [--json]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assessHealth } from '../machines/health.ts'
import { createNode } from '../runtime/index.ts'
import { Telemetry } from '../runtime/telemetry/telemetry.ts'
import { sampleMs } from '../runtime/telemetry/vitals.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const rounds = options.isQuick ? 3 : 15
const sensingMs = options.isQuick ? 1000 : 10_000
const faults: string[] = []

/** The median of some rounds, µs of processor time a call. */
async function cost(calls: number, act: () => unknown): Promise<number> {
  const found: number[] = []
  while (found.length < rounds) {
    const before = process.cpuUsage()
    for (let call = 0; call < calls; call += 1) await act()
    const { user, system } = process.cpuUsage(before)
    found.push((user + system) / calls)
  }
  return found.toSorted((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN
}

const measured = {
  p99LatencySeconds: 0.01,
  eventLoopLagSeconds: 0.5,
  blockingEvents: 3,
  blockingSeconds: 1,
  activeRequests: 150,
  queueWaitSeconds: 1,
  tasksStarted: 10,
  tasksCompleted: 7,
}

function score(): Row {
  const calls = 100_000
  let sum = 0
  const batch = () => {
    for (let call = 0; call < calls; call += 1) sum += assessHealth(measured).score
  }
  batch()
  const began = performance.now()
  batch()
  const us = ((performance.now() - began) * 1000) / calls
  if (sum !== 1624 * calls * 2) faults.push(`expected scores of 1624, got ${sum / calls / 2}`)
  return { what: 'score, status, modes, findings', us }
}

/** As full as it gets: a quarter hour of samples, and a minute of lags of four processes. */
function fullTelemetry(): Telemetry {
  const telemetry = new Telemetry()
  for (let taken = 0; taken < (15 * 60_000) / sampleMs + 2; taken += 1) telemetry.vitals.sample()
  telemetry.lag.merge(Array.from({ length: (4 * 60_000) / 20 }, (_, index) => index % 30))
  return telemetry
}

async function windows(): Promise<Row[]> {
  const { vitals } = fullTelemetry()
  const sampleUs = await cost(100, () => vitals.sample())
  return [
    { what: 'a sample', us: sampleUs, share: (sampleUs / 1000 / sampleMs) * 100 },
    { what: 'what an audit reads', us: await cost(100, () => vitals.measure()) },
  ]
}

async function answers(): Promise<Row> {
  const dataDir = mkdtempSync(join(tmpdir(), 'audit-bench-'))
  const node = await createNode({
    ephemeral: true,
    dataDir,
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  const ask = async () => {
    const answer = await node.fetch(new Request('http://muster/v1/audit'))
    if (answer.status !== 200) faults.push(`an audit was answered with ${answer.status}`)
    await answer.text()
  }
  for (let asked = 0; asked < 200; asked += 1) await ask()
  const us = await cost(200, ask)
  await node.stop(0)
  rmSync(dataDir, { recursive: true })
  // As often as a Prometheus would scrape.
  return { what: 'an answer of /v1/audit', us, share: (us / 1000 / sampleMs) * 100 }
}

async function sensors(): Promise<Row> {
  const telemetry = new Telemetry()
  telemetry.start(false)
  await Bun.sleep(500)
  const before = process.cpuUsage()
  await Bun.sleep(sensingMs)
  const { user, system } = process.cpuUsage(before)
  telemetry.stop()
  const share = ((user + system) / 1000 / sensingMs) * 100
  return { what: 'the sensors, all the time', share }
}

say('the sensors, in a process that does nothing else …')
const always = await sensors()
say('the rest …')
const rows = [score(), ...(await windows()), await answers(), always]
await publish(
  {
    bench: 'audit',
    columns: [
      { key: 'what', title: 'what' },
      { key: 'us', title: 'takes', digits: 2, unit: 'µs' },
      { key: 'share', title: 'of one core', digits: 4, unit: '%' },
    ],
    rows,
    notes: [`of one core: once in ${sampleMs / 1000} s`],
    faults,
  },
  options,
)
process.exit()
