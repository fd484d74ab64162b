/** The audit log: what was appended stays, whole, in files of bounded size and number. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import {
  appendFileSync,
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../../actors/ports.ts'
import { type AuditFilesOptions, auditFiles } from '../../runtime/log/audit.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { resultsOf } from './audit-batch.ts'

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }

let directory: string
const opened: { close(): Promise<void> }[] = []
beforeEach(() => {
  directory = join(temporaryDirectory(), 'audit')
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((audit) => audit.close()))
})

const open = (more: Partial<AuditFilesOptions> = {}) => {
  const audit = auditFiles({
    directory,
    fileBytesMax: 1_000_000,
    filesMax: 3,
    durability: 'always',
    flushMs: 1,
    log: quiet,
    ...more,
  })
  opened.push(audit)
  return audit
}

/** A line of so many bytes. */
const lineOf = (number: number, bytes = 50) => {
  const start = `{"number":${number},"text":"ü`
  return `${start}${'x'.repeat(bytes - Buffer.byteLength(start) - 3)}"}\n`
}

const text = (name: string) => readFileSync(join(directory, name), 'utf8')

/** Names of all files, oldest first. */
const files = () => {
  const age = (name: string) => Number(/\d+/.exec(name)?.[0] ?? 0)
  return readdirSync(directory).toSorted((a, b) => age(b) - age(a))
}

/** The numbers of all lines in all files, oldest first; every line must be whole. */
const numbers = () =>
  files()
    .flatMap((name) => text(name).split('\n'))
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { number: number }).number)

const upTo = (count: number, first = 0) =>
  Array.from({ length: count - first }, (_, index) => first + index)

for (const durability of ['always', 'everysec'] as const) {
  test(`with durability ${durability} what was appended is in the file at once`, async () => {
    const audit = open({ durability })
    await audit.append(lineOf(0) + lineOf(1))
    expect(text('audit.ndjson')).toBe(lineOf(0) + lineOf(1))
    await audit.append('')
    await audit.append(lineOf(2))
    expect(numbers()).toEqual([0, 1, 2])
  })
}

test('what was appended before goes on after a new start', async () => {
  await open().close()
  opened.length = 0
  await open().append(lineOf(0))
  await open().append(lineOf(1))
  expect(numbers()).toEqual([0, 1])
})

test('of batches every line is there in its order, whatever its length', async () => {
  const audit = open({ fileBytesMax: 100_000_000 })
  const long = '€'.repeat(400_000)
  const short = 'ü'
  await audit.appendResults([
    resultsOf(0, 1000),
    resultsOf(0, 2, { output: long }),
    resultsOf(0, 1000, { output: short }),
  ])
  await audit.append(lineOf(0))
  const lines = text('audit.ndjson').split('\n')
  expect(lines.pop()).toBe('')
  expect(lines.pop()).toBe(lineOf(0).trimEnd())
  const read = lines.map((line) => JSON.parse(line) as { seq: number; output?: string })
  expect(read.map(({ seq }) => seq)).toEqual([...upTo(1000), 0, 1, ...upTo(1000)])
  expect(read.slice(0, 1000).every(({ output }) => output === undefined)).toBeTrue()
  expect(read.slice(1000, 1002).every(({ output }) => output === long)).toBeTrue()
  expect(read.slice(1002).every(({ output }) => output === short)).toBeTrue()
})

test('only its owner may read it', async () => {
  await open().append(lineOf(0))
  expect(statSync(directory).mode & 0o777).toBe(0o700)
  expect(statSync(join(directory, 'audit.ndjson')).mode & 0o777).toBe(0o600)
})

test('the file is put aside when it is full, and so many of them are kept', async () => {
  const audit = open({ fileBytesMax: 500, filesMax: 3 })
  for (const number of upTo(35)) await audit.append(lineOf(number))
  expect(files()).toEqual(['audit.3.ndjson', 'audit.2.ndjson', 'audit.1.ndjson', 'audit.ndjson'])
  // Ten lines a file; three files and what is in the last one.
  expect(numbers()).toEqual(upTo(35))
  for (const number of upTo(57, 35)) await audit.append(lineOf(number))
  expect(numbers()).toEqual(upTo(57, 20))
  for (const name of files()) expect(statSync(join(directory, name)).size).toBeLessThanOrEqual(500)
})

test('one file aside is enough to go on', async () => {
  const audit = open({ fileBytesMax: 500, filesMax: 1 })
  for (const number of upTo(25)) await audit.append(lineOf(number))
  expect(files()).toEqual(['audit.1.ndjson', 'audit.ndjson'])
  expect(numbers()).toEqual(upTo(25, 10))
})

test('a batch larger than a file is kept whole', async () => {
  const audit = open({ fileBytesMax: 500, filesMax: 2 })
  const batch = upTo(100).map((number) => lineOf(number))
  await audit.append(batch.join(''))
  await audit.append(lineOf(100))
  expect(numbers()).toEqual(upTo(101))
  expect(text('audit.1.ndjson')).toBe(batch.join(''))
})

test('a full file is put aside also by the process that finds it', async () => {
  mkdirSync(directory)
  writeFileSync(
    join(directory, 'audit.ndjson'),
    upTo(10)
      .map((number) => lineOf(number))
      .join(''),
  )
  await open({ fileBytesMax: 500 }).append(lineOf(10))
  expect(text('audit.ndjson')).toBe(lineOf(10))
  expect(numbers()).toEqual(upTo(11))
})

test('two that write and put aside at once lose nothing', async () => {
  const writers = [1, 2].map(() => open({ fileBytesMax: 500, filesMax: 100 }))
  for (const number of upTo(200)) await writers[number % 2]?.append(lineOf(number))
  expect(numbers().toSorted((a, b) => a - b)).toEqual(upTo(200))
})

test('processes that put aside at the same time lose nothing', async () => {
  const program = join(import.meta.dir, 'audit-writer.ts')
  for (const [lines, fileBytes, together] of [
    [400, 100, 1],
    [20_000, 100_000, 5000],
    [20_000, 3_000_000, 20_000],
  ] as const) {
    rmSync(directory, { recursive: true, force: true })
    const running = upTo(3).map((writer) => {
      const words = [directory, writer * lines, lines, fileBytes, together].map(String)
      const argv = [process.execPath, '--conditions=development', program, ...words]
      return Bun.spawn(argv, { stdio: ['ignore', 'ignore', 'inherit'] }).exited
    })
    expect(await Promise.all(running)).toEqual([0, 0, 0])
    // Who looks while another one is in the middle of a line takes it for half of one.
    const written = files()
      .flatMap((name) => text(name).split('\n'))
      .filter((line) => line !== '')
    const found = written.map((line) => (JSON.parse(line) as { seq: number }).seq)
    expect(found.toSorted((a, b) => a - b)).toEqual(upTo(3 * lines))
  }
})

test('half a line that another one leaves meanwhile spoils none of a batch', async () => {
  const audit = open({ fileBytesMax: 100_000_000 })
  let isLeft = false
  // Called when its line is made: by then a megabyte of the lines before it is written.
  const toJSON = () => {
    if (!isLeft) appendFileSync(join(directory, 'audit.ndjson'), '{"half":"li')
    isLeft = true
    return 'late'
  }
  const late = resultsOf(20_000, 1, { output: { toJSON } })
  await audit.appendResults([resultsOf(0, 20_000), late, resultsOf(20_001, 20_000)])
  const lines = text('audit.ndjson').trim().split('\n')
  expect(lines.filter((line) => line === '{"half":"li')).toHaveLength(1)
  const whole = lines.filter((line) => line !== '{"half":"li')
  expect(whole.map((line) => (JSON.parse(line) as { seq: number }).seq)).toEqual(upTo(40_001))
})

test('nothing is appended to a log that was closed', async () => {
  const audit = open()
  await audit.append(lineOf(0))
  await audit.close()
  await audit.close()
  const refused = audit.append(lineOf(1)).catch((error: unknown) => error)
  expect(await refused).toMatchObject({ code: 'UNAVAILABLE' })
  expect(numbers()).toEqual([0])
})

test('whoever was killed while it put aside holds up nobody for long', async () => {
  const audit = open({ fileBytesMax: 500 })
  const lock = join(directory, 'rotating')
  mkdirSync(lock)
  for (const number of upTo(15)) await audit.append(lineOf(number))
  expect(files().toSorted()).toEqual(['audit.ndjson', 'rotating'])
  utimesSync(lock, 0, 0)
  for (const number of upTo(17, 15)) await audit.append(lineOf(number))
  expect(files()).toEqual(['audit.1.ndjson', 'audit.ndjson'])
  expect(numbers()).toEqual(upTo(17))
})

test('half a line that a killed process left does not spoil the next one', async () => {
  mkdirSync(directory)
  const half = lineOf(0).slice(0, 20)
  writeFileSync(join(directory, 'audit.ndjson'), half)
  await open().append(lineOf(1))
  expect(text('audit.ndjson')).toBe(`${half}\n${lineOf(1)}`)
})

test('a file that somebody removed is made again', async () => {
  const audit = open({ fileBytesMax: 100 })
  await audit.append(lineOf(0, 150))
  rmSync(join(directory, 'audit.ndjson'))
  await audit.append(lineOf(1))
  expect(numbers()).toEqual([1])
})

test('a place where nothing can be written is refused, with what to do', () => {
  writeFileSync(directory, 'in the way')
  expect(() => open()).toThrow(/cannot write the audit log .*audit\.ndjson: .*--data/)
})

const mounts = process.platform === 'linux' && process.getuid?.() === 0 && canMount()

describe.if(mounts)('on a full disk', () => {
  const sizeBytes = 64 * 1024
  beforeEach(() => {
    mkdirSync(directory)
    command('mount', '-t', 'tmpfs', '-o', `size=${sizeBytes},nr_inodes=12`, 'tmpfs', directory)
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((audit) => audit.close()))
    command('umount', '-l', directory)
  })

  const ballast = () => join(directory, 'ballast')
  const fill = (leaveBytes: number) => {
    const used = readdirSync(directory)
      .map((name) => Math.ceil(statSync(join(directory, name)).size / 4096) * 4096)
      .reduce((sum, bytes) => sum + bytes, 0)
    writeFileSync(ballast(), Buffer.alloc(sizeBytes - used - leaveBytes))
  }
  const makeRoom = () => rmSync(ballast())
  const outcomeOf = (appending: Promise<void>) =>
    appending.then(
      () => 'appended',
      (error: unknown) => (error as { code?: string }).code,
    )

  test('what does not fit is refused whole, and goes in when there is room', async () => {
    const audit = open()
    await audit.append(lineOf(0))
    fill(4096)
    const batch = upTo(200, 1)
      .map((number) => lineOf(number))
      .join('')
    expect(await outcomeOf(audit.append(batch))).toBe('ENOSPC')
    expect(text('audit.ndjson')).toBe(lineOf(0))
    expect(await outcomeOf(audit.append(batch))).toBe('ENOSPC')
    makeRoom()
    expect(await outcomeOf(audit.append(batch))).toBe('appended')
    expect(text('audit.ndjson')).toBe(lineOf(0) + batch)
  })

  test('of results that do not all fit none stays, though many were written already', async () => {
    const audit = open()
    await audit.append(lineOf(0))
    // The first text of them fits, the second does not.
    fill(36_864)
    const batch = resultsOf(0, 400)
    expect(await outcomeOf(audit.appendResults([batch]))).toBe('ENOSPC')
    expect(text('audit.ndjson')).toBe(lineOf(0))
    makeRoom()
    expect(await outcomeOf(audit.appendResults([batch]))).toBe('appended')
    expect(text('audit.ndjson').split('\n')).toHaveLength(1 + 400 + 1)
  })

  test('what was refused does not stand in the way of others', async () => {
    const audit = open()
    await audit.append(lineOf(0))
    fill(0)
    // In the block that the file has already there is room for a line, not for a batch.
    const refused = audit.append(
      upTo(200, 1)
        .map((number) => lineOf(number))
        .join(''),
    )
    expect(await outcomeOf(refused)).toBe('ENOSPC')
    appendFileSync(join(directory, 'audit.ndjson'), lineOf(500))
    expect(await outcomeOf(audit.append(lineOf(501)))).toBe('appended')
    expect(text('audit.ndjson')).toBe(lineOf(0) + lineOf(500) + lineOf(501))
  })

  test('a file that cannot be put aside is, later, and no other file gets its lines', async () => {
    const audit = open({ fileBytesMax: 500 })
    for (const number of upTo(10)) await audit.append(lineOf(number))
    const fillers = useInodes()
    expect(await outcomeOf(audit.append(lineOf(10)))).not.toBe('appended')
    // Whoever opens a file next gets the lowest descriptor that is free.
    const other = openSync(join(directory, 'filler0'), 'a')
    const refusedAgain = await outcomeOf(audit.append(lineOf(10)))
    expect(refusedAgain).not.toBe('appended')
    expect(fstatSync(other).size).toBe(0)
    for (const name of fillers) rmSync(join(directory, name))
    for (const number of upTo(25, 10)) await audit.append(lineOf(number))
    expect(fstatSync(other).size).toBe(0)
    closeSync(other)
    expect(numbers()).toEqual(upTo(25))
  })

  /** Makes files until there can be no more. */
  const useInodes = () => {
    const made: string[] = []
    for (;;) {
      const name = `filler${made.length}`
      try {
        writeFileSync(join(directory, name), '')
        made.push(name)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ENOSPC' })
        return made
      }
    }
  }
})

test('closing before the next sync is due leaves nothing to warn of', async () => {
  const warned: string[] = []
  const log = { ...quiet, warn: (_: unknown, sentence: string) => void warned.push(sentence) }
  const audit = open({ durability: 'everysec', flushMs: 60_000, log })
  await audit.append(lineOf(0))
  await audit.close()
  opened.length = 0
  expect(numbers()).toEqual([0])
  expect(warned).toEqual([])
})

function command(...words: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(words)
  if (exitCode !== 0) throw new Error(`${words.join(' ')}: ${stderr.toString().trim()}`)
}

/** Root in a container may not be allowed to mount. */
function canMount(): boolean {
  const place = temporaryDirectory()
  try {
    command('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place)
    command('umount', place)
    return true
  } catch (error) {
    console.log(`a full disk is not tested here: ${String(error)}`)
    return false
  }
}
if (process.platform !== 'linux' || process.getuid?.() !== 0) {
  console.log('a full disk is not tested here: only root on Linux can make one')
}
