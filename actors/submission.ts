/** What is handed to a dispatcher to become a run. */

import type { FencingToken } from './ports-fleet.ts'
import type { HaltPolicy, OpenRun, Run, Share } from './ports-runs.ts'
import type { Source } from './source.ts'

/** What is said of a run when it is submitted, beside its tasks. */
export interface About {
  /** Hash of the source's lines, where it is known before they are read. */
  content?: string
  reason?: string
  /** The run whose tasks these are, again. */
  parent?: string
  labels?: Record<string, string>
  /** In whose name its tasks run; refused by the workers once somebody else leads. */
  fence?: FencingToken
  /** Most of its tasks in flight at a time. */
  window?: Share
  halt?: HaltPolicy
}

export interface Submission extends About {
  source: Source
  /**
   * Once and never twice: for 24 hours the same key gives the run that it gave first. The source
   * must be one that can be hashed; `content` counts for nothing then.
   */
  key?: string
  /** Aborted when whoever submits has left, and only then. */
  signal?: AbortSignal
  /** Tasks in the source, where that is known: refused at once when there is no room for all. */
  tasks?: number
  /** Called as soon as the run has a name; reading its source may go on for ever. */
  onOpen?(run: string, resumed: boolean): void
}

export interface Submitted {
  run: Run
  resumed: boolean
}

/** The run to be opened for a submission. */
export function openingOf(
  { content, reason, parent, labels, fence, window, halt }: About,
  run: Pick<OpenRun, 'id' | 'createdAt' | 'driver'>,
): OpenRun {
  return {
    ...run,
    ...(content === undefined ? {} : { content }),
    ...(reason === undefined ? {} : { reason }),
    ...(parent === undefined ? {} : { parent }),
    ...(labels === undefined ? {} : { labels }),
    ...(fence === undefined ? {} : { fence }),
    ...(window === undefined ? {} : { window }),
    ...(halt === undefined ? {} : { halt }),
  }
}
