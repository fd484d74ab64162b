/** Which cgroup hierarchies commands can use on this machine. */
import { mkdirSync, readFileSync, readlinkSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import { systemClock } from '../clock.ts'
import { killAll, namesIn, removeTree } from './cgroup-files.ts'
import { cgroupPlaces } from './cgroup-mounts.ts'
import { Cgroups, type Hierarchy, setLimits } from './cgroups.ts'

/** Numbers of processes mean something only within their namespace. */
const prefix = `muster-${pidNamespace()}-`
const ownName = `${prefix}${process.pid}`

let users = 0
let shared: Promise<Cgroups> | undefined
/** Those of before. */
let closing: Promise<unknown> = Promise.resolve()
const closingLooksMax = 100
const closingLookMs = 20

/**
 * What can be used here, each tried with a process. Whoever asked gives it back with
 * `releaseCgroups`. The cells of dead processes are cleared away.
 */
export function takeCgroups(): Promise<Cgroups> {
  users += 1
  shared ??= closing.then(findCgroups)
  return shared
}

export async function releaseCgroups(): Promise<void> {
  users -= 1
  if (users > 0) return
  const last = shared
  shared = undefined
  // Whoever takes them next has the same directories.
  const closed = closing.then(async () => closeWhole(await last))
  // Only whoever gave them back hears of what went wrong.
  closing = Promise.allSettled([closed])
  await closed
}

/** Who was killed is there for a moment longer, and a cgroup with somebody in it stays. */
async function closeWhole(cgroups: Cgroups | undefined): Promise<void> {
  for (let look = 0; look < closingLooksMax; look += 1) {
    if (cgroups?.close() !== false) return
    await systemClock.wait(closingLookMs)
  }
}

async function findCgroups(): Promise<Cgroups> {
  const { unified, memory, pids } = cgroupPlaces()
  const tried = await Promise.all([
    unified === undefined ? undefined : tryUnified(unified),
    pids === undefined ? undefined : tryHierarchy(pids, 1, ['pids']),
    memory === undefined ? undefined : tryHierarchy(memory, 1, ['memory']),
  ])
  return new Cgroups(tried.filter((one) => one !== undefined))
}

/**
 * Controllers may be usable only after they have been handed down; where we live ourselves they
 * cannot be (version 2 wants processes in leaves alone), but perhaps beside us.
 */
async function tryUnified(place: string): Promise<Hierarchy | undefined> {
  for (const parent of [place, dirname(place)]) {
    const offered = wordsIn(join(parent, 'cgroup.controllers'))
    const wanted = (['memory', 'pids'] as const).filter((name) => offered.includes(name))
    if (wanted.length === 0 || !handDown(parent, wanted)) continue
    const found = await tryHierarchy(parent, 2, wanted, place)
    if (found !== undefined) return found
  }
  return tryHierarchy(place, 2, [])
}

function handDown(parent: string, controllers: readonly string[]): boolean {
  const base = join(parent, ownName)
  try {
    mkdirSync(base, { recursive: true })
    for (const directory of [parent, base]) {
      for (const name of controllers) {
        writeFileSync(join(directory, 'cgroup.subtree_control'), `+${name}`)
      }
    }
    return true
  } catch {
    // Not ours to hand down.
    removeTree(base)
    return false
  }
}

function wordsIn(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').trim().split(' ')
  } catch {
    // Not readable, so not usable.
    return []
  }
}

async function tryHierarchy(
  place: string,
  version: 1 | 2,
  holds: Hierarchy['holds'],
  outside = place,
): Promise<Hierarchy | undefined> {
  const base = join(place, ownName)
  const hierarchy = { base, outside, version, holds }
  const directory = join(base, 'trial')
  try {
    mkdirSync(base, { recursive: true })
    clearDead(place)
    mkdirSync(directory)
    setLimits(directory, hierarchy, { memoryBytes: 256 * 1024 * 1024, pids: 16 })
    const program = Bun.which('true')
    if (program === null) return undefined
    const child = Bun.spawn([program], {
      cgroup: directory,
      stdio: ['ignore', 'ignore', 'ignore'],
    })
    if ((await child.exited) !== 0) throw new Error('a process cannot live in it')
    rmdirSync(directory)
    return hierarchy
  } catch {
    // No right to it, or a kernel without it: commands go on without.
    removeTree(base)
    return undefined
  }
}

/** Commands of a process that is gone must not go on. */
function clearDead(place: string): void {
  for (const name of namesIn(place)) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length)) : 0
    if (!(pid > 0) || pid === process.pid || isAlive(pid)) continue
    const base = join(place, name)
    for (const cell of namesIn(base)) killAll(join(base, cell))
    removeTree(base)
  }
}

function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0'
  } catch {
    // No Linux: no cgroups either.
    return '0'
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return describeError(error).code !== 'ESRCH'
  }
}
