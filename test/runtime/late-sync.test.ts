/** What was written is synced a while later, once for all that was written, off the event loop. */
import { afterEach, expect, test } from 'bun:test'
import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { LateSync } from '../../runtime/log/late-sync.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

type Done = (error: Error | null) => void

const opened = new Set<number>()
afterEach(() => {
  for (const descriptor of opened) if (isOpen(descriptor)) closeSync(descriptor)
  opened.clear()
})

const open = () => {
  const descriptor = openSync(join(temporaryDirectory(), 'file'), 'a')
  opened.add(descriptor)
  return descriptor
}

function isOpen(descriptor: number): boolean {
  try {
    fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

/** A disk that says it is done when it is told to. */
const slowDisk = (afterMs = 0) => {
  const syncs: { descriptor: number; done: Done }[] = []
  const failures: string[] = []
  const late = new LateSync({
    afterMs,
    onFailure: ({ message }) => void failures.push(message),
    sync: (descriptor, done) => void syncs.push({ descriptor, done }),
  })
  return { late, syncs, failures }
}

/** As long as it takes another one to sync what was written now, three times over. */
const whileOthersSync = async () => {
  const { late, syncs } = slowDisk()
  const descriptor = open()
  for (let times = 1; times <= 3; times += 1) {
    late.soon(descriptor)
    await eventually(() => expect(syncs).toHaveLength(times))
    syncs.at(-1)?.done(null)
  }
}

test('many writes are synced once, and what is written during that, after it', async () => {
  const { late, syncs } = slowDisk()
  const descriptor = open()
  for (let write = 0; write < 10; write += 1) late.soon(descriptor)
  await eventually(() => expect(syncs).toHaveLength(1))
  late.soon(descriptor)
  // A disk may take for ever: there is never a second sync beside the first.
  await whileOthersSync()
  expect(syncs).toHaveLength(1)
  syncs[0]?.done(null)
  await eventually(() => expect(syncs).toHaveLength(2))
})

test('what is closed while it is synced is closed after that', async () => {
  const { late, syncs } = slowDisk()
  const descriptor = open()
  late.soon(descriptor)
  await eventually(() => expect(syncs).toHaveLength(1))
  late.close(descriptor)
  expect(isOpen(descriptor)).toBeTrue()
  syncs[0]?.done(null)
  expect(isOpen(descriptor)).toBeFalse()
})

test('what is not being synced is closed at once, and not synced after that', async () => {
  const { late, syncs } = slowDisk()
  const descriptor = open()
  late.soon(descriptor)
  late.forget()
  late.close(descriptor)
  expect(isOpen(descriptor)).toBeFalse()
  await whileOthersSync()
  expect(syncs).toEqual([])
})

test('a sync that fails is told, and the next write is synced all the same', async () => {
  const failures: Error[] = []
  const late = new LateSync({ afterMs: 0, onFailure: (error) => void failures.push(error) })
  // Real, and nothing that can be synced.
  const descriptor = openSync('/dev/null', 'a')
  opened.add(descriptor)
  late.soon(descriptor)
  await eventually(() => expect(failures).toHaveLength(1))
  expect(failures[0]).toMatchObject({ code: 'EINVAL' })
  late.soon(descriptor)
  await eventually(() => expect(failures).toHaveLength(2))
})
