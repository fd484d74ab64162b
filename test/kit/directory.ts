/** Temporary directories that clean up after themselves: preload.ts removes them when tests end. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// A unix socket's path may have 107 bytes, so a long TMPDIR is no place for a data directory.
const parent = tmpdir().length <= 40 ? realpathSync(tmpdir()) : '/tmp'
const made = new Set<string>()

/** A new, empty directory with a short absolute path, removed when the test file ends. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(parent, 'muster-'))
  made.add(directory)
  return directory
}

/** Removes one directory made here, or all. */
export function removeTemporaryDirectories(directories: Iterable<string> = [...made]): void {
  for (const directory of directories) {
    if (made.delete(directory)) rmSync(directory, { recursive: true, force: true })
  }
}

process.on('exit', () => removeTemporaryDirectories())
