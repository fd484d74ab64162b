/** What a command is to read, in a file without a name: whatever ends this process, it is gone. */
import { randomUUID } from 'node:crypto'
import { closeSync, constants, mkdirSync, openSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeError, MusterError } from '../../actors/errors.ts'

/**
 * A file and no pipe: Bun's are sockets, which nobody can open by their names (`/dev/stdin`), and
 * to open a named one waits for somebody who writes.
 * @returns its descriptor, to be closed once it was handed on
 * @throws MusterError with the operating system's code, such as ENOSPC
 */
export function inputFile(text: string, directory = tmpdir()): number {
  try {
    return written(text, directory)
  } catch (error) {
    const { code, message } = describeError(error)
    const what = `cannot keep the stdin of a command in ${directory}: ${message}`
    throw new MusterError(code, what, { cause: error })
  }
}

function written(text: string, directory: string): number {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, `stdin-${randomUUID()}`)
  const file = openSync(path, 'wx', 0o600)
  try {
    writeFileSync(file, text)
    // One that reads it cannot change what others of its group read.
    return openSync(path, constants.O_RDONLY)
  } finally {
    closeSync(file)
    unlinkSync(path)
  }
}
