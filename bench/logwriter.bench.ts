/**
 * How many lines a second does the log take, on the way into its files as a node has them? By
 * itself, lines being ready; with pino, which makes them; and how long a record takes whoever logs.
 *
 *   bun bench/logwriter.bench.ts [--quick] [--json]
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createActor } from 'xstate'
import { DeadLetters } from '../actors/dead-letters.ts'
import { logWriter } from '../actors/log.ts'
import { LogLines } from '../actors/log-lines.ts'
import type { Log } from '../actors/ports.ts'
import { systemClock } from '../runtime/clock.ts'
import { pinoLog } from '../runtime/log/pino.ts'
import { logFiles } from '../runtime/log/writer.ts'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { median, slowest } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import { quiet } from './kit/parts.ts'
import { publish, say } from './kit/report.ts'

const options = readOptions()
const rounds = options.isQuick ? 3 : 10
/** Of one round; as many as may wait without any being sampled are logged at a time. */
const linesRound = options.isQuick ? 100_000 : 200_000
const burst = 20_000
const mebibyte = 1_048_576
const directory = join(temporaryDirectory(), 'log')

let dropped = 0
const lines = new LogLines({
  queueMax: 100_000,
  queueBytesMax: 64 * mebibyte,
  batchBytes: 4 * mebibyte,
  clock: systemClock,
  random: Math.random,
  meter: {
    dropped() {
      dropped += 1
    },
  },
})
const { tell } = new DeadLetters({ clock: systemClock, log: quiet })
// More files than by default: in the end every line is looked for.
const files = { directory, name: 'n', fileBytesMax: 100 * mebibyte, filesMax: 1000, log: quiet }
const { logic, input } = logWriter({
  lines,
  sink: logFiles(files),
  flushMs: 500,
  drainMs: 10_000,
  clock: systemClock,
  tell,
  log: quiet,
})
const writer = createActor(logic, { input })
writer.start()

let logged = 0
let bytes = 0
const write: Parameters<typeof pinoLog>[0]['write'] = (text, level) => {
  const size = Buffer.byteLength(text)
  bytes += size
  logged += 1
  lines.push({ level, text, bytes: size })
}
const log: Log = pinoLog({ level: 'info', thread: 'main', write })
let ready = ''
const sample = pinoLog({
  level: 'info',
  thread: 'main',
  write(line) {
    ready = line
  },
})
const record = (seq: number) => ({ run: 'r-logwriter', seq, mailbox: 'work.noop' })
sample.info(record(1_000_000), 'a message goes back to its mailbox')

/** Lines a second, from the first that is logged to the last that is written. */
async function rateOf(one: (seq: number) => void): Promise<number> {
  const began = performance.now()
  for (let seq = 0; seq < linesRound; ) {
    // Who logs more than the disk takes is sampled: here it waits, so that every line counts.
    while (lines.depth > 80_000 - burst) await systemClock.wait(1)
    for (const end = Math.min(seq + burst, linesRound); seq < end; seq += 1) one(seq)
    await systemClock.breathe()
  }
  while (lines.depth > 0) {
    // The rest of a batch would wait half a second for company.
    tell(writer, { type: 'log.enough' })
    await systemClock.wait(1)
  }
  return (linesRound * 1000) / (performance.now() - began)
}

async function measure(what: string, one: (seq: number) => void) {
  await rateOf(one)
  const rates: number[] = []
  const before = process.cpuUsage()
  for (let round = 0; round < rounds; round += 1) rates.push(await rateOf(one))
  const { user, system } = process.cpuUsage(before)
  say(`${what}: done`)
  return {
    what,
    rounds,
    linesPerSecond: median(rates),
    slowestPerSecond: slowest(rates),
    cpuUs: (user + system) / (rounds * linesRound),
  }
}

const rows = [
  await measure('lines written', () => write(ready, 'info')),
  await measure('made by pino and written', (seq) =>
    log.info(record(seq), 'a message goes back to its mailbox'),
  ),
]
const ended = Promise.withResolvers<void>()
writer.subscribe({ complete: () => ended.resolve() })
tell(writer, { type: 'stop' })
await ended.promise
const inFiles = countLines()
await publish(
  {
    bench: 'logwriter',
    columns: [
      { key: 'what', title: 'log' },
      { key: 'rounds', title: 'rounds' },
      { key: 'linesPerSecond', title: 'lines/s, p50' },
      { key: 'slowestPerSecond', title: 'p99' },
      { key: 'cpuUs', title: 'CPU of all threads a line', digits: 2, unit: 'µs' },
    ],
    rows,
    notes: [`${Math.round(bytes / logged)} B a line, rounds of ${linesRound}, synced once a flush`],
    faults:
      inFiles.found === logged && dropped === 0 && inFiles.wrong === 0
        ? []
        : [`logged ${logged}, dropped ${dropped}, in files ${JSON.stringify(inFiles)}`],
  },
  options,
)

function countLines(): { found: number; wrong: number } {
  let found = 0
  let wrong = 0
  const path = join(directory, 'n.ndjson')
  for (let name = path, number = 1; existsSync(name); name = `${path}.${number}`, number += 1) {
    const content = readFileSync(name)
    for (const byte of content) if (byte === 10) found += 1
    if (content.at(-1) !== 10) wrong += 1
  }
  return { found, wrong }
}
