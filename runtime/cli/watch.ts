/** `muster watch`: progress of a run, from any terminal, at any time. */
import { Departure } from './departure.ts'
import { exitCodeOfRun, exitCodes } from './exit.ts'
import { follow } from './follow.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { Progress } from './progress.ts'
import { recap } from './report.ts'

export async function watch(
  invocation: Invocation,
  run: string,
  flags: { timeout?: number },
): Promise<number> {
  const { terminal } = invocation
  const departure = new Departure(flags.timeout)
  const progress = new Progress(terminal)
  try {
    const { muster } = await locate(invocation)
    const finished = await follow(muster, run, progress, departure.signal)
    progress.stop()
    await terminal.print(
      `${terminal.json ? JSON.stringify(finished) : recap(finished, undefined)}\n`,
    )
    return exitCodeOfRun(finished)
  } catch (error) {
    const how = Departure.of(error)
    if (how === undefined) throw error
    progress.stop()
    const word = how === 'timeout' ? 'stopped waiting for' : 'detached from'
    terminal.warn(`muster: ${word} ${run}; the run goes on: muster watch ${run}`)
    return exitCodes[how]
  } finally {
    progress.stop()
    departure.dispose()
  }
}
