/**
 * Whose sandboxes are whose. Each process that has any owns a directory under its name, by which
 * the next one to start finds what a killed one has left: processes, containers, directories. The
 * mounts of an owner are in a namespace of their own, which ends with its last process.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describeError, MusterError } from '../../../actors/errors.ts'
import type { Log } from '../../../actors/ports.ts'
import { isAlive } from '../../node-file.ts'
import { place } from '../../place.ts'
import { ownersDirectory } from './settings.ts'
import { runTool } from './tool.ts'

/** In the environment of every process of an owner, outside of the sandbox. */
export const ownerVariable = 'MUSTER_SANDBOX_OWNER'
export const ownerLabel = 'muster.owner'
const programsFile = 'programs'
const removeMs = 60_000

/** This process: boot of the machine, namespace of processes, pid, and when that began. */
function ownerName(pid = process.pid): string {
  return [...here(), pid, startOf(pid)].join('.')
}

export interface Owner {
  readonly name: string
  readonly directory: string
  /** It has containers that this program knows of. */
  uses(program: string): void
  release(): void
}

/**
 * Makes the directory of this process.
 * @throws MusterError SANDBOX_UNAVAILABLE when somebody else has the directory of all
 */
export function becomeOwner(): Owner {
  const name = ownerName()
  const directory = join(ownersDirectory(), name)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const { uid } = statSync(ownersDirectory())
  if (process.getuid !== undefined && uid !== process.getuid()) {
    const message = `${ownersDirectory()} belongs to user ${uid}: remove it, or set TMPDIR`
    throw new MusterError('SANDBOX_UNAVAILABLE', message)
  }
  const programs = new Set<string>()
  return {
    name,
    directory,
    uses(program) {
      if (programs.has(program)) return
      programs.add(program)
      writeFileSync(join(directory, programsFile), [...programs].join('\n'))
    },
    release: () => rmSync(directory, { recursive: true, force: true }),
  }
}

/** The names of owners that have ended and left something. */
function deadOwners(): string[] {
  const directory = ownersDirectory()
  if (!existsSync(directory)) return []
  return readdirSync(directory).filter(isDead)
}

/** Takes away what owners have left that are dead. What cannot be is left for the next time. */
export async function sweepOwners(log: Log): Promise<string[]> {
  const dead = deadOwners()
  for (const name of dead) {
    try {
      endProcessesOf(name)
      const directory = join(ownersDirectory(), name)
      for (const program of programsOf(directory)) await removeContainers(program, name, log)
      rmSync(directory, { recursive: true, force: true })
      log.info({ owner: name }, 'what a dead process left of its containers is taken away')
    } catch (error) {
      log.warn(
        { owner: name, ...describeError(error) },
        'what a dead process left of its containers cannot be taken away',
      )
    }
  }
  return dead
}

function isDead(name: string): boolean {
  const [boot, namespace, pid, start] = name.split('.')
  const [bootHere, namespaceHere] = here()
  // The machine has been started anew since.
  if (boot !== bootHere) return true
  // Of another namespace of processes nothing is known here.
  if (namespace !== namespaceHere) return false
  return !isAlive(Number(pid)) || startOf(Number(pid)) !== start
}

function here(): [boot: string, namespace: string] {
  const [, boot = '0', namespace = '0'] = place().split(':')
  return [boot, namespace]
}

/** When a process began, in ticks since the boot: a pid alone may be somebody else's by now. */
function startOf(pid: number): string {
  try {
    // The name of the program, in brackets, may hold blanks and brackets itself.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)?.split(' ')
    return fields?.[19] ?? '0'
  } catch {
    // Not Linux, or it has ended.
    return '0'
  }
}

function endProcessesOf(name: string): void {
  if (process.platform !== 'linux') return
  const mark = `${ownerVariable}=${name}\0`
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue
    try {
      if (`${readFileSync(`/proc/${entry}/environ`, 'latin1')}\0`.includes(mark)) {
        process.kill(Number(entry), 'SIGKILL')
      }
    } catch {
      // It has ended, or is not ours to look at: then it is none of what we left.
    }
  }
}

function programsOf(directory: string): string[] {
  const file = join(directory, programsFile)
  return existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []
}

async function removeContainers(program: string, name: string, log: Log): Promise<void> {
  const label = `label=${ownerLabel}=${name}`
  const listed = await runTool([program, 'ps', '-aq', '--filter', label], log, removeMs)
  if (listed.failure !== undefined) throw new Error(listed.failure)
  const ids = listed.stdout.split(/\s+/).filter(Boolean)
  if (ids.length === 0) return
  const removed = await runTool([program, 'rm', '-f', ...ids], log, removeMs)
  if (removed.failure !== undefined) throw new Error(removed.failure)
}
