/** The directory in which a node keeps what is its own. */
import { mkdirSync } from 'node:fs'
import { DataDirectoryError, describeError } from '../actors/errors.ts'

/** @throws DataDirectoryError when it is not there and cannot be made */
export function makeDataDirectory(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new DataDirectoryError(
      `cannot make the data directory ${dataDir}: ${describeError(error).message}; ` +
        'choose another one with --data',
      { cause: error },
    )
  }
}
