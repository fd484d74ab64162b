/** Follow a run to its end, with its progress on stderr. */
import type { Run } from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import type { Intake, Muster } from '../client-api.ts'
import type { Progress } from './progress.ts'
import type { Terminal } from './terminal.ts'

/**
 * The run when it has ended.
 * @throws whatever `signal` was aborted with
 */
export async function follow(
  muster: Muster,
  run: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<Run> {
  let last: Run | undefined
  for await (const event of muster.events(run, { signal })) {
    last = event.run
    progress.update(event.run)
    if (event.type === 'done') break
  }
  return last ?? muster.get(run)
}

/** To somebody who looks; a file or a script gets all that the run remembers. */
const rejectionsShown = 20

/** The lines that were not taken, and why. */
export function sayRejections(intake: Intake, terminal: Terminal): void {
  const shown = terminal.live ? intake.rejected.slice(0, rejectionsShown) : intake.rejected
  for (const rejection of shown) terminal.warn(rejectionLine(rejection))
  const more = intake.rejectedCount - shown.length
  if (more > 0) terminal.warn(`… and ${more} more rejected lines`)
}

export function rejectionLine({ line, path, message }: Rejection): string {
  return `line ${line}: ${path === '' ? '' : `${path}: `}${message}`
}
