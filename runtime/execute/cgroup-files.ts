/** Directories of cgroups: who is in them, and how they are emptied and removed. */
import {
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describeError } from '../../actors/errors.ts'

/** Kernels without accounting of swap have no such file; then there is none to be limited. */
export function setIfThere(file: string, value: string): void {
  if (statSync(file, { throwIfNoEntry: false }) !== undefined) writeFileSync(file, value)
}

export function killAll(directory: string): void {
  try {
    const kill = join(directory, 'cgroup.kill')
    if (statSync(kill, { throwIfNoEntry: false }) !== undefined) {
      writeFileSync(kill, '1')
      return
    }
  } catch (error) {
    if (describeError(error).code !== 'ENOENT') throw error
    return
  }
  for (const name of namesIn(directory)) killAll(join(directory, name))
  // Who is forked meanwhile is found by the next look.
  for (let look = 0; look < looksMax; look += 1) {
    const pids = pidsIn(directory)
    if (pids.length === 0) return
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL')
      } catch (error) {
        if (describeError(error).code !== 'ESRCH') throw error
      }
    }
  }
}

/** The dying are listed for a moment. */
const looksMax = 20

export function free(directory: string, outside: string): void {
  for (const pid of pidsIn(directory)) writeIfAlive(join(outside, 'cgroup.procs'), pid)
}

export function writeIfAlive(file: string, pid: string): void {
  try {
    writeFileSync(file, pid)
  } catch (error) {
    const { code } = describeError(error)
    if (code !== 'ESRCH' && code !== 'EINVAL') throw error
  }
}

export function pidsIn(directory: string): string[] {
  return textIn(join(directory, 'cgroup.procs'))
    .split('\n')
    .filter((pid) => pid !== '')
}

/**
 * A cgroup that commands are born into one after the other. Of version 2 what is looked at for each
 * stays open, as to find it by its path takes longer than to use it; version 1 would answer out of
 * a list of up to a second ago.
 */
export class OpenCgroup {
  readonly #directory: string
  readonly #isKept: boolean
  #handle: number | undefined
  #procs: number | undefined

  constructor(directory: string, version: 1 | 2) {
    this.#directory = directory
    this.#isKept = version === 2
  }

  /** Where a process is to be born, as a path or a descriptor. */
  get birthplace(): string | number {
    if (!this.#isKept) return this.#directory
    this.#handle ??= openSync(this.#directory, 'r')
    return this.#handle
  }

  isEmpty(): boolean {
    if (!this.#isKept) return pidsIn(this.#directory).length === 0
    try {
      this.#procs ??= openSync(join(this.#directory, 'cgroup.procs'), 'r')
      return readSync(this.#procs, oneByte, 0, 1, 0) === 0
    } catch (error) {
      const { code } = describeError(error)
      if (code === 'ENOENT' || code === 'ENODEV') return true
      throw error
    }
  }

  close(): void {
    for (const file of [this.#handle, this.#procs]) if (file !== undefined) closeSync(file)
    this.#handle = undefined
    this.#procs = undefined
  }
}

const oneByte = new Uint8Array(1)

export function textIn(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = describeError(error)
    if (code === 'ENOENT' || code === 'ENODEV') return ''
    throw error
  }
}

export function removeOrKeep(directory: string, dusty: Set<string>): void {
  if (!isRemoved(directory) && !removeWithin(directory)) dusty.add(directory)
}

function isRemoved(directory: string): boolean {
  try {
    rmdirSync(directory)
    return true
  } catch (error) {
    return describeError(error).code === 'ENOENT'
  }
}

/** A program may have made cgroups within its own. */
function removeWithin(directory: string): boolean {
  const names = namesIn(directory)
  if (names.length === 0) return false
  for (const name of names) removeWithin(join(directory, name))
  return names.every((name) => isRemoved(join(directory, name))) && isRemoved(directory)
}

export function namesIn(base: string): string[] {
  try {
    return readdirSync(base, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    )
  } catch {
    // Gone, or not ours to look at.
    return []
  }
}

/** What cannot be removed yet is left to the next one to start. */
export function removeTree(base: string): void {
  removeOrKeep(base, new Set())
}
