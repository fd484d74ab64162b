/**
 * A cgroup for each command: what is killed with it is the whole tree, also who left its process
 * group, and limits hold for all of it together. Which hierarchies can be used is tried, not
 * guessed (cgroup-search.ts).
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecLimits } from '../../actors/exec-input.ts'
import {
  free,
  killAll,
  namesIn,
  OpenCgroup,
  pidsIn,
  removeOrKeep,
  removeTree,
  setIfThere,
  textIn,
  writeIfAlive,
} from './cgroup-files.ts'

/** Of one command. */
export interface Cell {
  /** Where its first process is born, as a path or a descriptor. */
  readonly birthplace: string | number
  /** It runs: where one hierarchy cannot hold all limits, its processes go into the others too. */
  join(): void
  /** Its first process has ended: whether that was the last one. Then nobody can come any more. */
  isLeft(): boolean
  kill(): void
  /** Nobody is to be left in it; with `isFreed` who is left goes on outside of it. */
  close(isFreed: boolean): void
  /** Once it is closed: whether the kernel killed one of it for want of memory. */
  readonly ranOutOfMemory: boolean
}

/** What one hierarchy is used for. */
export interface Hierarchy {
  /** Directory of this process for its cells. */
  base: string
  /** Where this process lives itself, and who is let go goes. */
  outside: string
  version: 1 | 2
  holds: readonly ('memory' | 'pids')[]
}

const sweptMax = 8

export class Cgroups {
  readonly #tracking: Hierarchy | undefined
  readonly #limiting: readonly Hierarchy[]
  /** Could not be removed yet: somebody in it is still dying. */
  readonly #dusty = new Set<string>()
  /** Empty, without limits, and good for the next: to make one costs a tenth of a start. */
  readonly #clean: Part[] = []
  #count = 0
  /** What can be used here. */
  readonly hierarchies: readonly Hierarchy[]
  readonly #prefix: string

  /** @param prefix where several share the hierarchies: what the names of these begin with */
  constructor(hierarchies: readonly Hierarchy[], prefix = '') {
    this.hierarchies = hierarchies
    this.#prefix = prefix
    this.#tracking = hierarchies.find(({ version }) => version === 2) ?? hierarchies[0]
    this.#limiting = hierarchies.filter(({ holds }) => holds.length > 0)
  }

  /** Directories whose children are the cells, for whoever clears up after this process. */
  get bases(): string[] {
    return [...new Set([this.#tracking, ...this.#limiting].flatMap((one) => one?.base ?? []))]
  }

  /** The version that holds these limits; undefined when none can. */
  versionFor(limits: ExecLimits): 1 | 2 | undefined {
    return this.#holding(limits)?.[0]?.version
  }

  /**
   * A cell within these limits; undefined when nothing is to be limited and nothing can be tracked.
   * @throws the operating system's error
   */
  open(limits: ExecLimits): Cell | undefined {
    this.#sweep()
    const wanted = wantedOf(limits)
    if (wanted.length === 0) return this.#openTracking()
    const hierarchies = this.#holding(limits)
    if (hierarchies === undefined) return undefined
    this.#count += 1
    const parts = hierarchies.map((hierarchy): Part => {
      const directory = join(hierarchy.base, `${this.#prefix}${this.#count}`)
      return { hierarchy, directory, open: new OpenCgroup(directory, hierarchy.version) }
    })
    try {
      for (const { directory, hierarchy } of parts) {
        mkdirSync(directory)
        setLimits(directory, hierarchy, limits)
      }
    } catch (error) {
      for (const { directory } of parts) removeOrKeep(directory, this.#dusty)
      throw error
    }
    return new DirectoryCell(parts, { isLimited: true, dusty: this.#dusty })
  }

  #openTracking(): Cell | undefined {
    const hierarchy = this.#tracking
    if (hierarchy === undefined) return undefined
    let part = this.#clean.pop()
    if (part === undefined) {
      this.#count += 1
      const directory = join(hierarchy.base, `${this.#prefix}${this.#count}`)
      mkdirSync(directory)
      part = { hierarchy, directory, open: new OpenCgroup(directory, hierarchy.version) }
    }
    const left = { isLimited: false, dusty: this.#dusty, clean: this.#clean }
    return new DirectoryCell([part], left)
  }

  /**
   * Takes away what it made.
   * @returns whether nothing is left: somebody who was killed may still be dying
   */
  close(): boolean {
    for (const { open } of this.#clean.splice(0)) open.close()
    for (const base of this.bases) {
      const names = namesIn(base).filter((name) => name.startsWith(this.#prefix))
      for (const name of names) killAll(join(base, name))
      if (this.#prefix === '') removeTree(base)
      else for (const name of names) removeOrKeep(join(base, name), this.#dusty)
    }
    return this.bases.every((base) =>
      this.#prefix === ''
        ? !existsSync(base)
        : namesIn(base).every((name) => !name.startsWith(this.#prefix)),
    )
  }

  /** The hierarchy in which a command is born comes first. */
  #holding(limits: ExecLimits): Hierarchy[] | undefined {
    const wanted = wantedOf(limits)
    // Born where its number is held: then there are never too many to be taken into the other one.
    const found = wanted
      .toSorted()
      .reverse()
      .map((name) => this.#limiting.find(({ holds }) => holds.includes(name)))
    const hierarchies = found.filter((one) => one !== undefined)
    return hierarchies.length < wanted.length || wanted.length === 0
      ? undefined
      : [...new Set(hierarchies)]
  }

  /** A few each time: there may be many that nobody can remove. */
  #sweep(): void {
    for (const directory of this.#dusty.values().take(sweptMax).toArray()) {
      this.#dusty.delete(directory)
      // Behind the others, where it stays.
      removeOrKeep(directory, this.#dusty)
    }
  }
}

function wantedOf({ memoryBytes, pids }: ExecLimits): ('memory' | 'pids')[] {
  return [
    ...(memoryBytes === undefined ? [] : ['memory' as const]),
    ...(pids === undefined ? [] : ['pids' as const]),
  ]
}

interface Part {
  hierarchy: Hierarchy
  directory: string
  open: OpenCgroup
}

/** What becomes of the directories of a cell. */
interface Left {
  isLimited: boolean
  dusty: Set<string>
  /** Takes those that can be used again. */
  clean?: Part[]
}

const cleanMax = 64

class DirectoryCell implements Cell {
  ranOutOfMemory = false
  /** Known to be so; it is empty before, too. */
  #isLeft = false
  readonly #parts: readonly Part[]
  readonly #left: Left

  constructor(parts: readonly Part[], left: Left) {
    this.#parts = parts
    this.#left = left
  }

  get birthplace(): string | number {
    return this.#parts[0]?.open.birthplace ?? ''
  }

  join(): void {
    const [first, ...others] = this.#parts
    if (first === undefined) return
    for (const { directory } of others) {
      const joined = new Set<string>()
      // Whoever is forked by one that joined has joined with it: this comes to an end.
      for (let isNew = true; isNew; ) {
        isNew = false
        for (const pid of pidsIn(first.directory)) {
          if (joined.has(pid)) continue
          joined.add(pid)
          isNew = true
          writeIfAlive(join(directory, 'cgroup.procs'), pid)
        }
      }
    }
  }

  isLeft(): boolean {
    this.#isLeft ||= this.#parts.every(({ open }) => open.isEmpty())
    return this.#isLeft
  }

  kill(): void {
    // Some kernels kill for ever whoever is born into a cgroup that was killed once.
    delete this.#left.clean
    for (const { directory } of this.#parts) killAll(directory)
  }

  close(isFreed: boolean): void {
    const { isLimited, dusty, clean } = this.#left
    this.ranOutOfMemory = isLimited && this.#parts.some(hasKilled)
    for (const part of this.#parts) {
      const { directory, hierarchy, open } = part
      let isKept = false
      try {
        if (this.#isLeft || open.isEmpty()) {
          isKept = clean !== undefined && clean.length < cleanMax
          if (isKept) clean?.push(part)
        } else if (isFreed && !isLimited) free(directory, hierarchy.outside)
        // Limits are for all of it, and would end with it.
        else killAll(directory)
      } finally {
        if (!isKept) {
          open.close()
          removeOrKeep(directory, dusty)
        }
      }
    }
  }
}

function hasKilled({ directory, hierarchy: { version } }: Part): boolean {
  const file = version === 2 ? 'memory.events' : 'memory.oom_control'
  return /^oom_kill [1-9]/m.test(textIn(join(directory, file)))
}

export function setLimits(
  directory: string,
  { version, holds }: Hierarchy,
  limits: ExecLimits,
): void {
  const set = (file: string, value: number) => writeFileSync(join(directory, file), `${value}`)
  const { memoryBytes, pids } = limits
  if (pids !== undefined && holds.includes('pids')) set('pids.max', pids)
  if (memoryBytes === undefined || !holds.includes('memory')) return
  if (version === 1) {
    set('memory.limit_in_bytes', memoryBytes)
    setIfThere(join(directory, 'memory.memsw.limit_in_bytes'), `${memoryBytes}`)
    return
  }
  set('memory.max', memoryBytes)
  setIfThere(join(directory, 'memory.swap.max'), '0')
  setIfThere(join(directory, 'memory.oom.group'), '1')
}
