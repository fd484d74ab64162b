/** `muster retry`: a new run of those tasks of an old one that ended so. */
import type { Outcome } from '../../machines/outcome.ts'
import { Departure } from './departure.ts'
import { exitCodeOfRun, exitCodes } from './exit.ts'
import { follow, sayRejections } from './follow.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { Progress } from './progress.ts'
import { printReport } from './results.ts'
import { workerSettings } from './settings.ts'

export interface RetryFlags extends Partial<Record<Retriable, boolean>> {
  reason?: string
  wait?: boolean
  tasks?: string[]
  workers?: number
}

const retriable = ['failed', 'timeout', 'dead', 'unreached', 'ok'] as const satisfies Outcome[]
type Retriable = (typeof retriable)[number]

export async function retry(
  invocation: Invocation,
  run: string,
  flags: RetryFlags,
): Promise<number> {
  const { terminal } = invocation
  // `--timeout` is an outcome here: it takes no time.
  const departure = new Departure(undefined)
  const outcomes = retriable.filter((outcome) => flags[outcome] === true)
  const located = await locate(invocation, {
    roles: ['dispatcher', 'worker', 'collector'],
    tasksFiles: flags.tasks ?? [],
    flags: workerSettings(flags.workers),
    left: departure.signal,
  })
  const progress = new Progress(terminal)
  try {
    const handle = await located.muster.retry(run, {
      ...(outcomes.length === 0 ? {} : { outcomes }),
      ...(flags.reason === undefined ? {} : { reason: flags.reason }),
    })
    sayRejections(handle, terminal)
    const { id, accepted, rejectedCount, rejected } = handle
    terminal.say(`${accepted} tasks of ${run} again, as ${id}`)
    // A node in this process ends with it.
    if (!located.isHere && flags.wait !== true) {
      const answer = { run: id, accepted, rejectedCount, rejected }
      await terminal.print(`${terminal.json ? JSON.stringify(answer) : id}\n`)
      return rejectedCount > 0 ? exitCodes.notOk : exitCodes.ok
    }
    const finished = await follow(located.muster, id, progress, departure.signal)
    progress.stop()
    await printReport(located.muster, finished, terminal)
    return exitCodeOfRun(finished)
  } catch (error) {
    const how = Departure.of(error)
    if (how === undefined) throw error
    progress.stop()
    const fate = located.isHere ? 'the same command resumes it' : 'it goes on: muster ls'
    terminal.warn(`muster: detached from the retry of ${run}; ${fate}`)
    return exitCodes[how]
  } finally {
    progress.stop()
    await located.stop(departure.signal.aborted)
    departure.dispose()
  }
}
