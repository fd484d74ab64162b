/**
 * `muster pause`, `resume` and `cancel`: what an operator may do to a run; without one, to the
 * whole system.
 */
import type { RunAction } from '../../actors/ports-runs.ts'
import { Departure } from './departure.ts'
import { exitCodes } from './exit.ts'
import { follow } from './follow.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { Progress } from './progress.ts'
import { recap } from './report.ts'
import { pauseAll, resumeAll } from './state.ts'

export interface ControlFlags {
  reason?: string
}

/** What runs is aborted at once; how soon it ends is its own affair, ms. */
const cancelPatienceMs = 5000

export async function control(
  invocation: Invocation,
  action: RunAction,
  run: string | undefined,
  flags: ControlFlags,
): Promise<number> {
  if (run === undefined) return (action === 'pause' ? pauseAll : resumeAll)(invocation, flags)
  const { reason = 'by the command line' } = flags
  const { terminal } = invocation
  const { muster } = await locate(invocation)
  let now = await muster.control(run, action, reason)
  const departure = new Departure(cancelPatienceMs)
  const progress = new Progress(terminal)
  try {
    if (action === 'cancel') now = await follow(muster, run, progress, departure.signal)
  } catch (error) {
    if (Departure.of(error) === undefined) throw error
    terminal.say(`run ${run} is being cancelled; follow it: muster watch ${run}`)
  } finally {
    progress.stop()
    departure.dispose()
  }
  if (terminal.json) await terminal.print(`${JSON.stringify(now)}\n`)
  else terminal.say(recap(now, undefined))
  return exitCodes.ok
}
