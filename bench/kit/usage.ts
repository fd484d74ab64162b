/** What processes have used so far, by /proc: processor time, thread by thread, and memory. */
import { readdirSync, readFileSync } from 'node:fs'

/** Of the processor time of a process, in the kernel's ticks. */
const tickMs = 10

export interface Usage {
  cpuMs: number
  /** Now, and the most there ever was. */
  rssBytes: number
  rssPeakBytes: number
  /** Thread id → its name and time. */
  threads: Map<number, { name: string; cpuMs: number }>
}

/** Of all these processes together. */
export function usageOf(pids: readonly number[]): Usage {
  const sum: Usage = { cpuMs: 0, rssBytes: 0, rssPeakBytes: 0, threads: new Map() }
  for (const pid of pids) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    sum.rssBytes += statusBytes(status, 'VmRSS')
    sum.rssPeakBytes += statusBytes(status, 'VmHWM')
    sum.cpuMs += readStat(`/proc/${pid}/stat`)?.cpuMs ?? 0
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const stat = readStat(`/proc/${pid}/task/${thread}/stat`)
      if (stat !== undefined) sum.threads.set(Number(thread), stat)
    }
  }
  return sum
}

function statusBytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024
}

interface Stat {
  name: string
  cpuMs: number
  /** Of its children that have ended. */
  childrenMs: number
}

function readStat(file: string): Stat | undefined {
  let text: string
  try {
    text = readFileSync(file, 'latin1')
  } catch {
    // A thread that has just ended.
    return undefined
  }
  // The name, in brackets, may hold blanks and brackets itself.
  const end = text.lastIndexOf(')')
  const fields = text.slice(end + 2).split(' ')
  const ticks = (at: number) => Number(fields[at]) + Number(fields[at + 1])
  const name = text.slice(text.indexOf('(') + 1, end)
  return { name, cpuMs: ticks(11) * tickMs, childrenMs: ticks(13) * tickMs }
}

/** Processor time of a process and of all the children that it has seen end. */
export function processorMs(pid: number): number {
  const { cpuMs, childrenMs } = readStat(`/proc/${pid}/stat`) ?? { cpuMs: 0, childrenMs: 0 }
  return cpuMs + childrenMs
}

export interface Busy {
  thread: string
  /** Of one core, 0…1. */
  share: number
}

/** How busy each thread was, the busiest first. */
export function busyThreads(before: Usage, after: Usage, wallMs: number): Busy[] {
  return [...after.threads]
    .map(([id, { name, cpuMs }]) => ({
      thread: name,
      share: (cpuMs - (before.threads.get(id)?.cpuMs ?? 0)) / wallMs,
    }))
    .filter(({ share }) => share > 0.01)
    .toSorted((a, b) => b.share - a.share)
}
