/**
 * Exclusion between processes by a lock of the kernel, which is free again the moment its holder
 * dies. SQLite is asked for nothing but that lock: it has it on every platform.
 */
import { Database } from 'bun:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { DataDirectoryError, describeError, UnavailableError } from '../../actors/errors.ts'

const lockLimitMs = 300_000

/**
 * Runs `step` while no other process, nor anybody else in this one, runs theirs on the same file.
 * Throws DataDirectoryError when the file cannot be used, UnavailableError REDIS_UNAVAILABLE when
 * somebody holds it for five minutes.
 */
export async function underLock<T>(file: string, step: () => Promise<T>): Promise<T> {
  const lock = usingFile(file, () => new Database(file, { create: true }))
  try {
    const deadline = performance.now() + lockLimitMs
    // Waiting inside SQLite would stop this thread, and with it a holder in the same process.
    while (!usingFile(file, () => tryLock(lock))) {
      if (performance.now() > deadline) throw heldTooLong(file)
      await delay(20)
    }
    try {
      return await step()
    } finally {
      lock.run('ROLLBACK')
    }
  } finally {
    lock.close()
  }
}

function tryLock(lock: Database): boolean {
  try {
    lock.run('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (describeError(error).code.startsWith('SQLITE_BUSY')) return false
    throw error
  }
}

function usingFile<T>(file: string, step: () => T): T {
  try {
    return step()
  } catch (error) {
    throw new DataDirectoryError(
      `the lock ${file} cannot be used: ${describeError(error).message}. The data directory must ` +
        'be writable and on a file system with locks; choose another with --data DIR.',
      { cause: error },
    )
  }
}

function heldTooLong(file: string): UnavailableError {
  return new UnavailableError(
    `Another process has held ${file} for ${lockLimitMs / 1000} s, which it does only while it ` +
      'starts or stops Redis. See who has it open, and end that process if it hangs.',
    { code: 'REDIS_UNAVAILABLE' },
  )
}
