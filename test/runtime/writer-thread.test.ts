/** Results and audit lines written by a thread. */
import { afterEach, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import type { ResultBatch } from '../../actors/results.ts'
import { loadConfig } from '../../config/load.ts'
import { withWriterThread } from '../../runtime/store/writer-thread.ts'
import { fileStores, type Stores } from '../../runtime/stores.ts'
import { givesWay } from '../../runtime/thread-priority.ts'
import { rowOf } from '../conformance/results.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

const opened: Stores[] = []
afterEach(async () => {
  for (const stores of opened.splice(0)) await stores.close()
})

const warned: string[] = []

/** @param own what the owner of the thread writes with, changed by a test */
function start(rowsAlone: number, change: (own: Stores) => Stores = (own) => own) {
  const dataDir = temporaryDirectory()
  const { config } = loadConfig({})
  const log = { warn: (_: unknown, message: string) => void warned.push(message) }
  const files = { config, dataDir, log }
  const stores = withWriterThread(change(fileStores(files)), files, rowsAlone)
  opened.push(stores)
  const audited = () => readFileSync(join(dataDir, 'audit', 'audit.ndjson'), 'utf8')
  return { stores, audited, dataDir }
}

/** What the owner writes is noted, so that it shows who wrote. */
function watched(rowsAlone: number) {
  const own: number[] = []
  const started = start(rowsAlone, (stores) => ({
    ...stores,
    results: {
      ...stores.results,
      put(batches) {
        own.push(batches.length)
        return stores.results.put(batches)
      },
    },
  }))
  return { ...started, own }
}

test('few rows are written without a thread', async () => {
  const { stores, own } = watched(3)
  await stores.results.put([rowOf('r-1', 0, 'ok'), rowOf('r-1', 1, 'ok')])
  expect(own).toEqual([2])
})

test('many are written by it, can be read here at once, and none is lost or doubled', async () => {
  const { stores, own, audited } = watched(1)
  let seq = 0
  const put = async () => {
    const batch = rowOf('r-1', seq, 'ok')
    seq += 1
    await stores.results.put([batch])
    await stores.audit.appendResults([batch])
  }
  await eventually(async () => {
    const before = own.length
    await put()
    expect(own.length).toBe(before)
  })
  for (let count = 0; count < 50; count += 1) await put()
  const rows = await stores.results.query('r-1', { limit: 1000 })
  expect(rows.map((row) => row.seq)).toEqual(Array.from({ length: seq }, (_, index) => index))
  expect(audited()).toBe(rows.map(({ line }) => `${line}\n`).join(''))
})

test.skipIf(process.platform !== 'linux')('it gives way to the loop it works for', async () => {
  const before = getPriority(0)
  const { stores } = watched(1)
  await eventually(async () => {
    await stores.results.put([rowOf('r-1', 0, 'ok')])
    expect(prioritiesOf('Worker')).toContain(Math.max(before, givesWay))
  })
  expect(getPriority(0)).toBe(before)
  // The threads that help to collect are those of the loop as well.
  expect(prioritiesOf('HeapHelper').filter((priority) => priority !== before)).toEqual([])
})

/** Nothing of one that has ended since it was found. */
function statOf(thread: string): string {
  try {
    return readFileSync(`/proc/self/task/${thread}/stat`, 'utf8')
  } catch {
    return ''
  }
}

/** Of all threads of that name. */
function prioritiesOf(name: string): number[] {
  return readdirSync('/proc/self/task').flatMap((thread) => {
    const stat = statOf(thread)
    // Behind the name, which may hold anything, come the state and 15 numbers.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return stat.includes(`(${name})`) ? [Number(fields[16])] : []
  })
}

test('what tasks have to say is written as they said it', async () => {
  const { stores, own, audited } = watched(1)
  const output = { body: 'ünïcode ☃ "quoted"\n', bytes: 3, headers: { a: null }, list: [1, [2]] }
  const batch: ResultBatch = {
    ...rowOf('r-1', 0, 'ok', output),
    seqs: [[0, 2]],
    outcomes: '00',
    startedAt: [1, 2],
    durationMs: [1, 2],
    queueMs: [0, 0],
    more: [{ output, trace: '00-1-2-01', task: { input: { url: 'x' } } }, null],
  }
  await eventually(async () => {
    const before = own.length
    await stores.results.put([rowOf('r-0', 0, 'ok')])
    expect(own.length).toBe(before)
  })
  await stores.results.put([batch])
  await stores.audit.appendResults([batch])
  const rows = await stores.results.tasks('r-1', { limit: 9 })
  expect(rows.map(({ line, task }) => [JSON.parse(line).output, task])).toEqual([
    [output, '{"input":{"url":"x"}}'],
    [undefined, undefined],
  ])
  expect(audited()).toBe(rows.map(({ line }) => `${line}\n`).join(''))
})

test('what was put is logged in whatever order and however late that is asked for', async () => {
  const { stores, own, audited } = watched(1)
  await eventually(async () => {
    const before = own.length
    await stores.results.put([rowOf('r-0', 0, 'ok')])
    expect(own.length).toBe(before)
  })
  const batches = Array.from({ length: 12 }, (_, seq) => [rowOf('r-1', seq, 'ok')])
  const puts = batches.map((batch) => stores.results.put(batch))
  const order = [11, 3, 0, 10, 9, 1, 2, 8, 4, 7, 6, 5]
  const logged = order.map((seq) => stores.audit.appendResults(batches[seq] ?? []))
  await Promise.all([...puts, ...logged])
  const again = stores.audit.appendResults(batches[11] ?? [])
  await again
  const seqs = audited()
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { seq: number }).seq)
  expect(seqs).toEqual([...order, 11])
})

test('what it cannot write is told to whoever asked, and the next is written', async () => {
  const { stores, own } = watched(1)
  await eventually(async () => {
    const before = own.length
    await stores.results.put([rowOf('r-1', 0, 'ok')])
    expect(own.length).toBe(before)
  })
  const bad: ResultBatch = { ...rowOf('r-1', 1, 'ok'), seqs: [[1.5, 1]] }
  const refused = await stores.results.put([bad]).catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(Error)
  await stores.results.put([rowOf('r-1', 2, 'ok')])
  expect((await stores.results.query('r-1', { limit: 9 })).map(({ seq }) => seq)).toEqual([0, 2])
})

test('closing waits for what is being written', async () => {
  const { stores, own, audited } = watched(1)
  await eventually(async () => {
    const before = own.length
    await stores.results.put([rowOf('r-1', 0, 'ok')])
    expect(own.length).toBe(before)
  })
  const written = stores.audit.append('{"last":true}\n')
  await stores.close()
  await written
  opened.length = 0
  expect(audited()).toBe('{"last":true}\n')
  expect(warned).toEqual([])
})
