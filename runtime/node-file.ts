/**
 * `<data>/nodes/<id>.json`: how the command line finds the nodes of a data directory. A node writes
 * it once it can be reached, and takes it away when it stops; those of dead processes are ignored.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DataDirectoryError, describeError, UnavailableError } from '../actors/errors.ts'

export interface NodeFile {
  id: string
  pid: number
  url: string
  startedAt: number
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    // Somebody else's process is alive as well.
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** It has ended and nobody has taken note: where process 1 is no init, that is for ever. */
function isZombie(pid: number): boolean {
  try {
    // The program's name, in brackets, may hold blanks and brackets itself.
    const state = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.[0]
    return state === 'Z' || state === 'X'
  } catch {
    // Not Linux, or it has just ended.
    return false
  }
}

/** Undefined where nobody is: no file, or half a file of a killed node. */
function readNodeFile(dataDir: string, id: string): NodeFile | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(dataDir, 'nodes', `${id}.json`), 'utf8'))
    return isNodeFile(value) ? value : undefined
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof Error && 'code' in error))
      return undefined
    throw error
  }
}

function isNodeFile(value: unknown): value is NodeFile {
  if (typeof value !== 'object' || value === null) return false
  const { id, pid, url, startedAt } = value as Record<string, unknown>
  return (
    typeof id === 'string' &&
    typeof pid === 'number' &&
    typeof url === 'string' &&
    typeof startedAt === 'number'
  )
}

/** Nodes of a data directory whose processes are alive. */
export function liveNodeFiles(dataDir: string): NodeFile[] {
  const folder = join(dataDir, 'nodes')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => readNodeFile(dataDir, name.slice(0, -'.json'.length)))
    .filter((file) => file !== undefined)
    .filter((file) => isAlive(file.pid))
}

function isTaken(dataDir: string, id: string): boolean {
  const file = readNodeFile(dataDir, id)
  return file !== undefined && file.pid !== process.pid && isAlive(file.pid)
}

/**
 * The id a node may use on this data directory: the wanted one, or the first free of `base`,
 * `base-2`, `base-3` …
 * @throws UnavailableError when a live twin has the wanted one
 */
export function chooseNodeId(dataDir: string, wanted: string | undefined, base: string): string {
  if (wanted !== undefined) {
    if (!isTaken(dataDir, wanted)) return wanted
    const twin = readNodeFile(dataDir, wanted)
    throw new UnavailableError(
      `node.id: "${wanted}" is the id of a live node (pid ${twin?.pid}, ${twin?.url}); ` +
        'stop that one, or choose another id with --node-id',
      { code: 'LIVE_TWIN' },
    )
  }
  for (let number = 1; ; number += 1) {
    const id = number === 1 ? base : `${base}-${number}`
    if (!isTaken(dataDir, id)) return id
  }
}

export function writeNodeFile(dataDir: string, file: NodeFile): void {
  const folder = join(dataDir, 'nodes')
  const path = join(folder, `${file.id}.json`)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    // Whole or not at all: the command line may read it at any moment.
    writeFileSync(`${path}.${process.pid}`, JSON.stringify(file), { mode: 0o600 })
    renameSync(`${path}.${process.pid}`, path)
  } catch (error) {
    throw new DataDirectoryError(`cannot write ${path}: ${describeError(error).message}`, {
      cause: error,
    })
  }
}

export function removeNodeFile(dataDir: string, id: string): void {
  if (readNodeFile(dataDir, id)?.pid === process.pid) {
    rmSync(join(dataDir, 'nodes', `${id}.json`), { force: true })
  }
}
