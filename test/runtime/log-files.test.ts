/** Log files: whole lines, a bounded number of bytes, one sync a flush, whatever the disk says. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import type { LogSink } from '../../actors/ports-log.ts'
import { type Disk, type LogFilesOptions, logFiles } from '../../runtime/log/writer.ts'
import { lineOf } from '../actors/log-writing.ts'
import { temporaryDirectory } from '../kit/directory.ts'

let directory: string
const opened: LogSink[] = []
beforeEach(() => {
  directory = join(temporaryDirectory(), 'log')
})
afterEach(async () => {
  for (const sink of opened.splice(0)) await sink.close()
})

async function begin(more: Partial<LogFilesOptions> = {}) {
  const warned: string[] = []
  const log = { warn: (_: unknown, message: string) => warned.push(message) }
  const sink = logFiles({ directory, name: 'n', fileBytesMax: 1000, filesMax: 3, log, ...more })
  opened.push(sink)
  await sink.open()
  const append = (...messages: (string | number)[]) =>
    sink.append(messages.map((message) => lineOf('info', message)))
  return { append, sink, warned }
}

const text = (name = 'n.ndjson') => readFileSync(join(directory, name), 'utf8')
const said = (name?: string) =>
  text(name)
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { msg: unknown }).msg)

const codeOf = (failing: Promise<unknown>) =>
  failing.then(
    () => 'none',
    (error: unknown) => describeError(error).code,
  )

interface Failing {
  sync?: string
  rename?: string
  /** Bytes until it is full. */
  room?: number
  /** Bytes that it takes at a time. */
  atATime?: number
}

/** The real one, with operations that are noted and may fail. */
function disk(failing: Failing = {}) {
  const asked = { syncs: 0, renames: 0 }
  const refuse = (code: string) => Promise.reject(Object.assign(new Error(code), { code }))
  const operations: Disk = {
    async open(file) {
      const real = await open(file, 'a+', 0o600)
      return {
        write: async (buffer: Buffer, offset = 0, length = buffer.length - offset) => {
          const { room = length, atATime = length } = failing
          if (room <= 0) return refuse('ENOSPC')
          const bytes = Math.min(length, room, atATime)
          if (failing.room !== undefined) failing.room -= bytes
          return real.write(buffer, offset, bytes)
        },
        sync: () => {
          asked.syncs += 1
          return failing.sync === undefined ? real.sync() : refuse(failing.sync)
        },
        stat: real.stat.bind(real),
        read: real.read.bind(real),
        truncate: real.truncate.bind(real),
        close: real.close.bind(real),
      } as Awaited<ReturnType<Disk['open']>>
    },
    rename(from, to) {
      asked.renames += 1
      return failing.rename === undefined ? rename(from, to) : refuse(failing.rename)
    },
  }
  return { asked, failing, operations }
}

describe('log files', () => {
  test('are of their owner alone, and go on where they ended', async () => {
    const first = await begin()
    await first.append(1, 2)
    await first.sink.close()
    const second = await begin()
    await second.append(3)
    expect(said()).toEqual([1, 2, 3])
    expect(statSync(join(directory, 'n.ndjson')).mode & 0o777).toBe(0o600)
    expect(statSync(directory).mode & 0o777).toBe(0o700)
  })

  test('that cannot be made are a DataDirectoryError', async () => {
    writeFileSync(directory, 'a file')
    expect(await codeOf(begin())).toBe('DATA_DIRECTORY')
  })

  test('are put aside before a batch that does not fit, the oldest going', async () => {
    const { append, warned } = await begin()
    for (let batch = 0; batch < 12; batch += 1) await append(`${batch} ${'x'.repeat(400)}`)
    expect(readdirSync(directory).toSorted()).toEqual([
      'n.ndjson',
      'n.ndjson.1',
      'n.ndjson.2',
      'n.ndjson.3',
    ])
    const starts = ['n.ndjson.3', 'n.ndjson.2', 'n.ndjson.1', 'n.ndjson'].map((name) =>
      said(name).map((msg) => Number.parseInt(String(msg), 10)),
    )
    expect(starts).toEqual([
      [4, 5],
      [6, 7],
      [8, 9],
      [10, 11],
    ])
    for (const name of readdirSync(directory)) {
      expect(statSync(join(directory, name)).size).toBeLessThanOrEqual(1000)
    }
    expect(warned).toEqual([])
  })

  test('take a batch whole that is larger than a file may be', async () => {
    const { append } = await begin()
    await append('small')
    await append('x'.repeat(3000))
    await append('after')
    expect([said('n.ndjson.2'), said()]).toEqual([['small'], ['after']])
    expect(text('n.ndjson.1')).toHaveLength(lineOf('info', 'x'.repeat(3000)).bytes)
  })

  test('are renamed, not copied: who reads one goes on reading it', async () => {
    const { append } = await begin()
    await append('x'.repeat(900))
    const { ino } = statSync(join(directory, 'n.ndjson'))
    await append('x'.repeat(900))
    expect(statSync(join(directory, 'n.ndjson.1')).ino).toBe(ino)
  })

  test('that cannot be put aside grow, lose nothing, and say so once', async () => {
    const { failing, operations } = disk({ rename: 'EACCES' })
    const { append, warned } = await begin({ disk: operations })
    for (let batch = 0; batch < 4; batch += 1) await append('x'.repeat(900))
    expect([said().length, warned]).toEqual([4, ['the log cannot be put aside; it grows']])
    delete failing.rename
    await append('last')
    expect([said(), said('n.ndjson.1').length]).toEqual([['last'], 4])
  })

  test('fill a gap before the oldest has to go', async () => {
    const { append } = await begin()
    for (let batch = 0; batch < 4; batch += 1) await append(`${batch} ${'x'.repeat(900)}`)
    rmSync(join(directory, 'n.ndjson.1'))
    await append('x'.repeat(900))
    expect(said('n.ndjson.3')[0]).toMatch(/^0 /)
    expect(said('n.ndjson.1')[0]).toMatch(/^3 /)
  })

  test('are synced once a flush', async () => {
    const { asked, operations } = disk()
    const { append } = await begin({ disk: operations })
    await append(...Array.from({ length: 20 }, (_, index) => index))
    await append(1)
    expect(asked.syncs).toBe(2)
  })

  test.each(['EINVAL', 'EBADF', 'EROFS'])('that say %s to a sync are written', async (code) => {
    const { asked, operations } = disk({ sync: code })
    const { append, warned } = await begin({ disk: operations })
    await append(1)
    await append(2)
    expect([said(), asked.syncs, warned]).toEqual([[1, 2], 2, []])
  })

  test('that fail a sync otherwise are written, and that is told once', async () => {
    const { failing, operations } = disk({ sync: 'EIO' })
    const { append, warned } = await begin({ disk: operations })
    await append(1)
    await append(2)
    expect([said(), warned]).toEqual([[1, 2], ['the log cannot be synced']])
    delete failing.sync
    await append(3)
    failing.sync = 'EIO'
    await append(4)
    expect(warned).toHaveLength(2)
  })

  test('that are no files (EINVAL of the system itself) are written', async () => {
    mkdirSync(directory)
    symlinkSync('/dev/null', join(directory, 'n.ndjson'))
    const { append, warned } = await begin()
    await append(1)
    expect(warned).toEqual([])
  })

  test('on a disk that is full keep no half line, and take all of it later', async () => {
    const { failing, operations } = disk()
    const { append } = await begin({ disk: operations })
    await append('first')
    failing.room = 50
    expect(await codeOf(append('second', 'x'.repeat(100)))).toBe('ENOSPC')
    expect(said()).toEqual(['first'])
    delete failing.room
    await append('second', 'third')
    expect(said()).toEqual(['first', 'second', 'third'])
  })

  test('on a disk that takes little at a time are whole', async () => {
    const { operations } = disk({ atATime: 7 })
    const { append } = await begin({ disk: operations })
    await append('ü'.repeat(200), 'ü'.repeat(100))
    expect(said()).toEqual(['ü'.repeat(200), 'ü'.repeat(100)])
  })

  test('a line that a killed writer left half is ended', async () => {
    mkdirSync(directory)
    writeFileSync(join(directory, 'n.ndjson'), '{"level":"info","ms')
    const { append } = await begin()
    await append(1)
    expect(text()).toBe(`{"level":"info","ms\n${lineOf('info', 1).text}`)
  })

  test('that somebody moved or removed are made anew', async () => {
    const { append } = await begin()
    await append(1)
    renameSync(join(directory, 'n.ndjson'), join(directory, 'taken'))
    await append(2)
    expect([said('taken'), said()]).toEqual([[1], [2]])
    rmSync(directory, { recursive: true })
    await append(3)
    expect(said()).toEqual([3])
  })
})
