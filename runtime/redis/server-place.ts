/**
 * Where the server of a data directory lives: derived from the directory alone, so that every
 * process finds the same.
 */
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, readlinkSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { DataDirectoryError, describeError } from '../../actors/errors.ts'

export interface ServerPlace {
  /** `<data>/redis`, without symbolic links. */
  directory: string
  socket: string
  logFile: string
}

/** The shortest limit of the platforms is that of macOS: 104 bytes with the closing NUL. */
const socketPathMaxBytes = 103

/** Makes `<data>/redis`, mode 0700. Throws DataDirectoryError. */
export function makePlace(dataDir: string): ServerPlace {
  const directory = join(dataDir, 'redis')
  return inDataDirectory(dataDir, () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const place = findPlace(dataDir)
    const direct = join(place.directory, 'redis.sock')
    if (place.socket === direct) return place
    makePrivate(dirname(place.socket))
    if (linkTarget(direct) !== place.socket) {
      rmSync(direct, { force: true })
      symlinkSync(place.socket, direct)
    }
    return place
  })
}

/**
 * Where the server of a data directory listens: in it, or where that path is too long for a socket,
 * in a private directory of the temporary files named after it, with a link to it in the usual
 * place. The link comes first, for processes may differ in their TMPDIR; but a link that was copied
 * or moved along with the data directory leads to the server of another one.
 */
export function findPlace(dataDir: string): ServerPlace {
  const directory = realpathSync(join(dataDir, 'redis'))
  const place = { directory, logFile: join(directory, 'redis.log') }
  const direct = join(directory, 'redis.sock')
  if (Buffer.byteLength(direct) <= socketPathMaxBytes) return { ...place, socket: direct }
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 16)
  const linked = linkTarget(direct)
  if (linked && basename(dirname(linked)).endsWith(`-${hash}`)) return { ...place, socket: linked }
  const name = `muster-${process.getuid?.() ?? 0}-${hash}`
  const candidates = [tmpdir(), '/tmp'].map((parent) => join(parent, name, 'redis.sock'))
  const socket = candidates.find((path) => Buffer.byteLength(path) <= socketPathMaxBytes)
  if (!socket) throw new Error(`the path of the socket ${direct} has more than 103 bytes`)
  return { ...place, socket }
}

function linkTarget(path: string): string | undefined {
  const isLink = lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ?? false
  return isLink ? readlinkSync(path) : undefined
}

/** Anybody may make directories among the temporary files; ours must be ours. */
function makePrivate(directory: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const stat = lstatSync(directory)
  if (!stat.isDirectory() || stat.uid !== process.getuid?.() || (stat.mode & 0o077) !== 0) {
    throw new Error(`${directory} is not a private directory of this user`)
  }
}

export function inDataDirectory<T>(dataDir: string, step: () => T): T {
  try {
    return step()
  } catch (error) {
    throw new DataDirectoryError(
      `the data directory ${dataDir} cannot be made or written: ${describeError(error).message}. ` +
        'Choose another with --data DIR, or give this user the right to write there.',
      { cause: error },
    )
  }
}
