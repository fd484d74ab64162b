/** The log of a node: what all of its processes say, in files, whatever the disk does meanwhile. */
import { afterEach, expect, test } from 'bun:test'
import {
  closeSync,
  constants,
  createReadStream,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { readExposition } from '../runtime/exposition.ts'

type Node = MusterProcess & { url: string }
type LogRecord = Record<string, unknown>

const started: { node: MusterProcess; dataDir: string }[] = []
afterEach(async () => {
  for (const { node, dataDir } of started.splice(0)) {
    await node.kill('SIGTERM')
    endProcessesIn(dataDir)
  }
})

const writers = 20
const linesEach = 50
const warningsEach = 5
const loud = `
  import { defineTask } from 'muster'
  import { z } from 'zod'
  export const loud = defineTask({
    kind: 'loud',
    input: z.object({ writer: z.number() }),
    async run({ writer }, { log }) {
      const text = 'x'.repeat(writer * 20)
      for (let number = 0; number < ${linesEach}; number += 1) {
        log.info({ writer, number, text }, 'one of many,\\nwith a line break')
        if (number < ${warningsEach}) log.warn({ writer, number, text }, 'mind this')
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  })`

async function startNode(dataDir: string, words: string[], env: Record<string, string> = {}) {
  const tasks = join(dataDir, 'tasks.ts')
  writeFileSync(tasks, loud)
  const all = ['--node-id', 'n', '--tasks', tasks, ...words]
  const node = await startMusterNode({ dataDir, env, words: all })
  started.push({ node, dataDir })
  return node
}

/** All writers at the same time. */
async function runLoud(node: Node, dataDir: string): Promise<void> {
  const lines = Array.from(
    { length: writers },
    (_, writer) => `{"kind":"loud","input":{"writer":${writer}}}\n`,
  )
  const words = ['submit', '-', '--url', node.url]
  const id = (await muster(words, { dataDir, stdin: lines.join('') })).out.trim()
  await eventually(
    async () => {
      const run = (await (await fetch(`${node.url}/v1/runs/${id}`)).json()) as Run
      expect([run.state, run.counts.ok]).toEqual(['completed', writers])
    },
    { timeoutMs: 40_000 },
  )
}

const recordsIn = (text: string): LogRecord[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogRecord)

const namesOf = (records: readonly LogRecord[]) =>
  new Set(records.map(({ writer, number }) => `${String(writer)}/${String(number)}`))

test('what 20 writers in two worker processes log is whole, and all there in the end', async () => {
  const dataDir = temporaryDirectory()
  const env = { MUSTER_WORKER_ENVELOPE_TASKS_MAX: '5' }
  const node = await startNode(dataDir, ['--processes', '2'], env)
  await runLoud(node, dataDir)
  const { code, err } = await node.kill('SIGTERM')
  const records = recordsIn(readFileSync(join(dataDir, 'log', 'n.ndjson'), 'utf8'))
  const said = records.filter(({ logger }) => logger === 'loud')
  const infos = said.filter(({ level }) => level === 'info')
  expect([code, infos.length, namesOf(infos).size]).toEqual([0, 1000, 1000])
  expect(said).toHaveLength(writers * (linesEach + warningsEach))
  for (const { stream, thread, pid } of said) {
    expect(stream).toBe('task')
    expect(String(thread)).toMatch(/^process-[12]$/)
    expect(pid).not.toBe(node.pid)
  }
  expect(records.filter(({ thread, stream }) => thread === 'main' && stream === 'log')).not.toEqual(
    [],
  )
  // And where it was before there were files.
  expect(err.split('\n').filter((line) => line.includes('one of many'))).toHaveLength(1000)
})

test('a disk that hangs holds up no task and costs no warning', async () => {
  const dataDir = temporaryDirectory()
  mkdirSync(join(dataDir, 'log'))
  // A pipe that nobody reads and that is full hangs.
  const pipe = join(dataDir, 'log', 'n.ndjson')
  expect(Bun.spawnSync(['mkfifo', pipe]).exitCode).toBe(0)
  const env = { MUSTER_LOG_QUEUE_MAX: '100', MUSTER_LOG_FLUSH_MS: '20' }
  const node = await startNode(dataDir, [], env)
  fill(pipe)
  await runLoud(node, dataDir)
  const metrics = readExposition(await (await fetch(`${node.url}/metrics`)).text())
  const dropped = metrics.value('muster_log_dropped_total', { level: 'info' }) ?? 0
  expect(dropped).toBeGreaterThan(0)
  expect(metrics.value('muster_log_dropped_total', { level: 'warn' })).toBeUndefined()
  expect(metrics.value('muster_log_queue_depth')).toBeGreaterThan(0)

  const reading = textOf(pipe)
  await eventually(async () => {
    const now = readExposition(await (await fetch(`${node.url}/metrics`)).text())
    expect(now.value('muster_log_queue_depth')).toBe(0)
  })
  expect((await node.kill('SIGTERM')).code).toBe(0)
  const records = recordsIn(await reading)
  const warnings = records.filter(({ msg }) => msg === 'mind this')
  expect([warnings.length, namesOf(warnings).size]).toEqual([100, 100])
  const told = records.filter(({ msg }) => msg === 'log_dropped')
  // One each time that it is over: the queue may have been full before the pipe was.
  const counts = told.map((record) => (record['dropped'] as { info: number }).info)
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(dropped)
  expect(told.map(({ level }) => level)).toEqual(told.map(() => 'warn'))
  const all = records.filter(({ level, logger }) => level === 'info' && logger === 'loud')
  expect(all.length).toBeGreaterThanOrEqual(1000 - dropped)
})

function fill(pipe: string): void {
  const end = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK)
  for (const lines of ['\n'.repeat(4096), '\n']) {
    expect(() => {
      for (;;) writeSync(end, lines)
    }).toThrow('EAGAIN')
  }
  closeSync(end)
}

async function textOf(file: string): Promise<string> {
  let text = ''
  for await (const piece of createReadStream(file, 'utf8')) text += String(piece)
  return text
}
