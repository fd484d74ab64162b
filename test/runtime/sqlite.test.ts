/** What the result store promises about its file. */

import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, expect, test } from 'bun:test'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Results } from '../../actors/ports.ts'
import { type SqliteOptions, sqliteResults } from '../../runtime/store/sqlite.ts'
import { rowOf, textOf } from '../conformance/results.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

let file: string
const opened: { close(): void }[] = []
const children: Bun.Subprocess[] = []
beforeEach(() => {
  file = join(temporaryDirectory(), 'results.sqlite')
})
afterEach(async () => {
  for (const results of opened.splice(0)) results.close()
  for (const child of children.splice(0)) {
    child.kill('SIGKILL')
    await child.exited
  }
})

const open = (options?: SqliteOptions) => {
  const results = options === undefined ? sqliteResults(file) : sqliteResults(file, options)
  opened.push(results)
  return results
}

const seqsOf = async (results: Results, run: string) =>
  (await results.query(run, { limit: 100_000 })).map(({ seq }) => seq)

const upTo = (count: number, first = 0) => Array.from({ length: count }, (_, seq) => first + seq)

function startWriter(run: string, first: number, count: number, batch: number) {
  const script = join(import.meta.dir, 'results-writer.ts')
  const words = [file, run, String(first), String(count), String(batch)]
  const child = Bun.spawn([process.execPath, script, ...words], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  children.push(child)
  const lines: string[] = []
  void child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
    new WritableStream({
      write: (text) => {
        lines.push(...text.split('\n').filter((line) => line !== ''))
      },
    }),
  )
  const says = (start: string) =>
    eventually(() => expect(lines.some((line) => line.startsWith(start))).toBe(true), {
      timeoutMs: 15_000,
    })
  return { child, lines, says }
}

test('rows are there when the file is opened again', async () => {
  const first = open()
  await first.put([rowOf('r-1', 0, 'ok'), rowOf('r-2', 5, 'failed')])
  first.close()
  opened.length = 0
  const again = open()
  expect(await seqsOf(again, 'r-1')).toEqual([0])
  await again.put([rowOf('r-2', 5, 'ok'), rowOf('r-2', 6, 'ok')])
  expect(await again.query('r-2', { outcomes: ['failed'], limit: 10 })).toEqual([
    { seq: 5, line: textOf('r-2', 5, 'failed') },
  ])
  expect(await seqsOf(again, 'r-2')).toEqual([5, 6])
})

test('two processes write to one file, the same run and others', async () => {
  const writers = [startWriter('r-1', 0, 3000, 100), startWriter('r-1', 2000, 3000, 100)]
  await Promise.all(writers.map(({ says }) => says('open')))
  for (const { child } of writers) {
    await child.stdin.write('go\n')
    await child.stdin.flush()
  }
  const ours = open()
  for (let seq = 0; seq < 1000; seq += 100) {
    await ours.put(upTo(100, seq).map((each) => rowOf('r-2', each, 'ok')))
  }
  expect(await Promise.all(writers.map(({ child }) => child.exited))).toEqual([0, 0])
  expect(await seqsOf(ours, 'r-1')).toEqual(upTo(5000))
  expect(await seqsOf(ours, 'r-2')).toEqual(upTo(1000))
  // Of the tasks that both stored there is one row, from either.
  const pids = await Promise.all(
    [0, 2500, 4999].map(async (seq) => (await ours.get('r-1', seq))?.line.output),
  )
  expect(writers.map(({ child }) => child.pid)).toContain(Number(pids[1]))
  expect([pids[0], pids[2]]).toEqual(writers.map(({ child }) => child.pid))
})

test('two processes may make the file at the same moment', async () => {
  const writers = upTo(4).map((number) => startWriter(`r-${number}`, 0, 10, 10))
  await Promise.all(writers.map(({ says }) => says('open')))
  for (const { child } of writers) {
    await child.stdin.write('go\n')
    await child.stdin.flush()
  }
  expect(await Promise.all(writers.map(({ child }) => child.exited))).toEqual([0, 0, 0, 0])
  const ours = open()
  for (const number of upTo(4)) expect(await seqsOf(ours, `r-${number}`)).toEqual(upTo(10))
})

test('what was put outlives a killed process, whole batches and nothing else', async () => {
  const { child, lines, says } = startWriter('r-1', 0, 100_000, 50)
  await says('open')
  await child.stdin.write('go\n')
  await child.stdin.flush()
  await says('put 500')
  child.kill('SIGKILL')
  await child.exited
  const told = Math.max(...lines.flatMap((line) => Number(/^put (\d+)$/.exec(line)?.[1] ?? 0)))
  const seqs = await seqsOf(open(), 'r-1')
  expect(seqs).toEqual(upTo(seqs.length))
  expect(seqs.length).toBeGreaterThanOrEqual(told)
  expect(seqs.length % 50).toBe(0)
})

for (const durability of ['always', 'everysec'] as const) {
  test(`with durability ${durability} rows are readable at once`, async () => {
    const warnings: unknown[] = []
    const log = { warn: (fields: unknown, message: string) => warnings.push([fields, message]) }
    const results = open({ durability, syncMs: 1, log })
    const other = open()
    for (const seq of upTo(20)) {
      await results.put([rowOf('r-1', seq, 'ok')])
      expect(await seqsOf(other, 'r-1')).toEqual(upTo(seq + 1))
      await new Promise((resolve) => setImmediate(resolve))
    }
    results.close()
    opened.shift()
    expect(warnings).toEqual([])
  })
}

test('a failed sync is told; without a file there is nothing to sync', async () => {
  const told: string[] = []
  const log = { warn: (_: unknown, sentence: string) => void told.push(sentence) }
  const options = { durability: 'everysec', syncMs: 0 } as const
  const toldInMemory: string[] = []
  const inMemory = sqliteResults(':memory:', {
    ...options,
    log: { warn: (_, sentence) => void toldInMemory.push(sentence) },
  })
  opened.push(inMemory)
  const onDisk = open({ ...options, log })
  await inMemory.put([rowOf('r-1', 0, 'ok')])
  await onDisk.put([rowOf('r-1', 0, 'ok')])
  rmSync(`${file}-wal`)
  // Its turn comes after that of the one in memory.
  await eventually(() => expect(told).toEqual(['cannot sync results']))
  expect(toldInMemory).toEqual([])
})

test('a file that is no store is refused, with what to do', () => {
  writeFileSync(file, 'not a database, but long enough to be read as one'.repeat(100))
  const refused = () => open()
  expect(refused).toThrow(/cannot open the result store .*results\.sqlite: .*--data/)
  try {
    refused()
  } catch (error) {
    expect(error).toMatchObject({ code: 'DATA_DIRECTORY' })
  }
})

test('a place that is no file is refused', () => {
  mkdirSync(file)
  expect(() => open()).toThrow(/cannot open the result store/)
})

test('a store of another version is refused', () => {
  open().close()
  opened.length = 0
  const database = new Database(file)
  database.run('pragma user_version = 4')
  database.close()
  expect(() => open()).toThrow(/version 4/)
})
