/** What runs on this machine, as far as tests ask: read from /proc, empty where there is none. */
import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessInfo {
  pid: number
  parent: number
  /** One letter of proc(5): R, S, D, T, Z … */
  state: string
}

/**
 * Whether a process runs. A zombie does not: where process 1 reaps nobody, as in many containers,
 * the killed child of a killed parent stays one for ever, and kill(pid, 0) would call it alive.
 */
export function isAlive(pid: number): boolean {
  const info = readProcess(pid)
  if (info) return info.state !== 'Z' && info.state !== 'X'
  if (process.platform === 'linux') return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}

/** Every process that is a child of `pid`, or a child of one, and runs. */
export function descendantsOf(pid: number): number[] {
  const all = listProcesses()
  const found = new Set([pid])
  for (let before = 0; before !== found.size; ) {
    before = found.size
    for (const { pid: child, parent } of all) if (found.has(parent)) found.add(child)
  }
  found.delete(pid)
  return [...found].filter(isAlive)
}

/** Every process started with this variable in its environment, whoever its parent is by now. */
export function processesWith(variable: string): number[] {
  return listProcesses()
    .map(({ pid }) => pid)
    .filter((pid) => readText(`/proc/${pid}/environ`)?.split('\0').includes(variable) ?? false)
    .filter(isAlive)
}

/** The command line of a process, for people. */
export function commandLine(pid: number): string {
  const words = readText(`/proc/${pid}/cmdline`)?.split('\0').join(' ').trim()
  return words === undefined || words === '' ? '(gone)' : words
}

function listProcesses(): ProcessInfo[] {
  try {
    const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
    return pids.map(readProcess).filter((info) => info !== undefined)
  } catch {
    // Not Linux: nothing can be seen, so nothing is claimed.
    return []
  }
}

function readProcess(pid: number): ProcessInfo | undefined {
  // The program's name, in brackets, may hold blanks and brackets itself.
  const [state, parent] = readText(`/proc/${pid}/stat`)?.split(') ').at(-1)?.split(' ') ?? []
  if (state === undefined || parent === undefined) return undefined
  return { pid, parent: Number(parent), state }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // It ended while we looked, or belongs to somebody else.
    return undefined
  }
}
