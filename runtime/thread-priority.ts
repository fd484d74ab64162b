/**
 * Which threads give way. The event loop is what bounds the rate, and on few cores it is woken and
 * waits while another core is free: each batch it hands over wakes the thread that writes, where it
 * runs itself. With a lower priority for that thread, and for those that compile, a million `noop`
 * tasks on two cores took a tenth less time each (`muster bench pipeline`).
 */
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/** As `nice` counts: about a third of the share of others, where all cores are busy. */
export const givesWay = 5
const tasksFolder = '/proc/self/task'
/** What JavaScriptCore calls its compiling threads; they end when there is nothing to compile. */
const compiling = 'JITWorker'

/**
 * The calling thread gives way from now on, and so do the compiling ones that there are.
 * @throws the system's error where it forbids that
 */
export function giveWay(): void {
  // Elsewhere priorities are those of whole processes; and only root may give more of one again.
  if (process.platform !== 'linux' || getPriority(0) >= givesWay) return
  setPriority(0, givesWay)
  for (const thread of readdirSync(tasksFolder)) {
    if (nameOf(thread) === compiling) lower(Number(thread))
  }
}

function nameOf(thread: string): string | undefined {
  try {
    return readFileSync(`${tasksFolder}/${thread}/comm`, 'utf8').trim()
  } catch {
    // It has ended since the folder was read.
    return undefined
  }
}

function lower(thread: number): void {
  try {
    setPriority(thread, givesWay)
  } catch (error) {
    // It has ended since its name was read.
    if ((error as { info?: { code?: string } }).info?.code !== 'ESRCH') throw error
  }
}
