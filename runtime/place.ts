/** Where a process id means something: a kernel since its boot, and a namespace of processes. */
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { isAlive } from './node-file.ts'

let known: string | undefined

/** Of this process; without '/' and spaces. Two containers of one name are two places. */
export function place(): string {
  known ??= [hostname(), bootId(), pidNamespace()].filter((part) => part !== '').join(':')
  return known
}

/** Whether a process is known to have ended: of other places nothing is known here. */
export function isProcessGone(where: string | undefined, pid: number): boolean {
  return where === place() && !isAlive(pid)
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8)
  } catch {
    // Not Linux: there the host name has to do.
    return ''
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid').replace(/\D+/g, '')
  } catch {
    // Not Linux, or nobody may look.
    return ''
  }
}
