/** What was written is synced a while later, once for all that was written, off the event loop. */
import { afterEach, expect, test } from 'bun:test'
import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { SyncedFile } from '../../runtime/log/synced-file.ts'
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

/** A file on a disk that says it is done when it is told to. */
const onSlowDisk = (descriptor = open()) => {
  const syncs: Done[] = []
  const file = new SyncedFile(descriptor, {
    afterMs: 0,
    onFailure: (error) => {
      throw error
    },
    sync: (_, done) => void syncs.push(done),
  })
  return { file, syncs }
}

/** As long as it takes another one to be synced three times. */
const whileOthersSync = async () => {
  const { file, syncs } = onSlowDisk()
  for (let times = 1; times <= 3; times += 1) {
    file.wrote()
    await eventually(() => expect(syncs).toHaveLength(times))
    syncs.at(-1)?.(null)
  }
}

test('many writes are synced once, and what is written during that, after it', async () => {
  const { file, syncs } = onSlowDisk()
  for (let write = 0; write < 10; write += 1) file.wrote()
  await eventually(() => expect(syncs).toHaveLength(1))
  file.wrote()
  await whileOthersSync()
  // A disk may take for ever: there is never a second sync beside the first.
  expect(syncs).toHaveLength(1)
  syncs[0]?.(null)
  // It was due by then: nobody waits once more.
  expect(syncs).toHaveLength(2)
  syncs[1]?.(null)
  await whileOthersSync()
  expect(syncs).toHaveLength(2)
})

test('what is closed while it is synced is closed after that', async () => {
  const { file, syncs } = onSlowDisk()
  file.wrote()
  await eventually(() => expect(syncs).toHaveLength(1))
  file.wrote()
  let isOver = false
  const closing = file.close().then(() => {
    isOver = true
  })
  await whileOthersSync()
  expect([isOpen(file.descriptor), isOver]).toEqual([true, false])
  syncs[0]?.(null)
  await closing
  expect(isOpen(file.descriptor)).toBeFalse()
  expect(syncs).toHaveLength(1)
})

test('what is not being synced is closed at once, and not synced after that', async () => {
  const { file, syncs } = onSlowDisk()
  file.wrote()
  const closing = file.close()
  expect(isOpen(file.descriptor)).toBeFalse()
  await Promise.all([closing, file.close()])
  await whileOthersSync()
  expect(syncs).toEqual([])
})

test('what was synced at once is not synced once more', async () => {
  const { file, syncs } = onSlowDisk()
  file.wrote()
  file.syncNow()
  await whileOthersSync()
  expect(syncs).toEqual([])
})

test('a sync that fails is told, and the next write is synced all the same', async () => {
  const failures: unknown[] = []
  // Real, and nothing that can be synced.
  const descriptor = openSync('/dev/null', 'a')
  opened.add(descriptor)
  const onFailure = (error: unknown) => void failures.push(error)
  const file = new SyncedFile(descriptor, { afterMs: 0, onFailure })
  file.wrote()
  await eventually(() => expect(failures).toHaveLength(1))
  file.wrote()
  await eventually(() => expect(failures).toHaveLength(2))
  file.syncNow()
  await file.close()
  const codes = failures.map((error) => (error as { code?: string }).code)
  expect(codes).toEqual(['EINVAL', 'EINVAL', 'EINVAL'])
})
