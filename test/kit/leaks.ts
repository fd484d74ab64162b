/**
 * What a test file leaves behind: processes it started (also those whose parent is gone: they are
 * found by a mark in their environment) and sockets this process still listens on. A test that
 * leaks would make another one fail, some other day.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { commandLine, descendantsOf, isAlive, processesWith } from './processes.ts'

const markName = 'TEST_PROCESS_MARK'

export interface LeakWatch {
  /** What is left now, each in one line. Waits up to `graceMs` for what is just ending. */
  leaks(graceMs: number): Promise<string[]>
  /** Ends the processes that are left, by force. */
  endProcesses(): void
}

/** Starts watching: what is there now, and what runs now, is no leak. */
export function watchLeaks(): LeakWatch {
  const before = new Set(startedProcesses())
  const socketsBefore = new Set(listeningSockets().keys())

  const processesLeft = (): number[] => startedProcesses().filter((pid) => !before.has(pid))
  const now = (): string[] => [
    ...processesLeft().map((pid) => `process ${pid} still runs: ${commandLine(pid)}`),
    ...[...listeningSockets()]
      .filter(([inode]) => !socketsBefore.has(inode))
      .map(([, address]) => `this process still listens on ${address}`),
  ]

  return {
    leaks: async (graceMs) => {
      const deadline = performance.now() + graceMs
      while (now().length > 0 && performance.now() < deadline) await Bun.sleep(20)
      return now()
    },
    endProcesses: () => {
      for (const pid of processesLeft()) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
    },
  }
}

/** Everything that this process, or something it started, started. */
function startedProcesses(): number[] {
  const inherited = process.env[markName]
  // The mark of a process that started us is not ours.
  const mark = inherited?.startsWith(`${process.pid}-`) ? inherited : `${process.pid}-${Date.now()}`
  process.env[markName] = mark
  const found = new Set([...descendantsOf(process.pid), ...processesWith(`${markName}=${mark}`)])
  found.delete(process.pid)
  return [...found]
}

/** The sockets this process listens on: address by inode. */
function listeningSockets(): Map<string, string> {
  const ours = socketInodes()
  const found = new Map<string, string>()
  for (const table of ['tcp', 'tcp6']) {
    for (const [, local, , state, , , , , , inode] of tableRows(table)) {
      if (local === undefined || inode === undefined || !ours.has(inode)) continue
      // 0A is LISTEN; the port stands in hexadecimal after the address.
      if (state === '0A') found.set(inode, `port ${Number.parseInt(local.split(':')[1] ?? '', 16)}`)
    }
  }
  for (const [, , , flags, , , inode, path] of tableRows('unix')) {
    if (inode === undefined || flags === undefined || !ours.has(inode)) continue
    // __SO_ACCEPTCON: somebody listens.
    if (Number.parseInt(flags, 16) & 0x10000) found.set(inode, path ?? 'a unix socket')
  }
  return found
}

function socketInodes(): Set<string> {
  const inodes = new Set<string>()
  for (const descriptor of listDescriptors()) {
    const inode = /^socket:\[(\d+)\]$/.exec(descriptor)?.[1]
    if (inode !== undefined) inodes.add(inode)
  }
  return inodes
}

function listDescriptors(): string[] {
  try {
    return readdirSync('/proc/self/fd').map((descriptor) => {
      try {
        return readlinkSync(`/proc/self/fd/${descriptor}`)
      } catch {
        // Closed since it was listed: the one the listing itself used, at least.
        return ''
      }
    })
  } catch {
    // Not Linux: nothing can be seen, so nothing is claimed.
    return []
  }
}

function tableRows(table: string): string[][] {
  try {
    const rows = readFileSync(`/proc/self/net/${table}`, 'utf8').trimEnd().split('\n').slice(1)
    return rows.map((row) => row.trim().split(/\s+/))
  } catch {
    // No such protocol here (IPv6 switched off), or not Linux.
    return []
  }
}
