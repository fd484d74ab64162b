/**
 * Processes whose leader is a tool that waits for the program in its sandbox. The tool would end at
 * once by SIGTERM, and take the program with it by SIGKILL: so it is told to those below it alone.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { Processes } from '../../../actors/subprocess.ts'

export function treeProcesses(processes: Processes): Processes {
  return {
    spawn(command, listener) {
      const leader = processes.spawn(command, listener)
      return {
        pid: leader.pid,
        kill(signal) {
          if (signal === 'SIGKILL') return leader.kill(signal)
          for (const pid of descendantsOf(leader.pid)) tell(pid, signal)
        },
        release: () => leader.release(),
      }
    },
  }
}

function descendantsOf(pid: number): number[] {
  const found = childrenOf(pid)
  // What is appended is visited as well.
  for (const child of found) found.push(...childrenOf(child))
  return found
}

/** Each thread has children of its own. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1')
        .split(' ')
        .filter(Boolean)
        .map(Number),
    )
  } catch {
    // It has ended, and with it what was below.
    return []
  }
}

function tell(pid: number, signal: 'SIGTERM'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself.
  }
}
