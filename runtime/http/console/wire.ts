/** What the console is told over its stream of events. Types alone: the page reads them as well. */
import type { EscalationLine } from '../../../actors/escalation-list.ts'
import type { NodeLine } from '../../../actors/membership.ts'
import type { LeaseRecord } from '../../../actors/ports-fleet.ts'
import type { Run } from '../../../actors/ports-runs.ts'
import type { SystemView } from '../../../actors/system-record.ts'
import type { LiveStatus } from '../../../machines/health-level.ts'
import type { Outcome } from '../../../machines/outcome.ts'

/** A run without the lines that were rejected, which may be a thousand. */
export type RunBrief = Omit<Run, 'rejected'>

/** When it was last seen is told of those alone that are not there. */
export type NodeBrief = Omit<NodeLine, 'lastSeen'> & { lastSeen?: number }

/** Time left of a lease changes all the time and is left out. */
export type LeaseBrief = Omit<LeaseRecord, 'ttlMs'>

/** One second. */
export interface Point {
  /** Epoch ms of its end. */
  at: number
  /** Tasks of all nodes that ended in it, per second. */
  rate: number
  /** 95th percentile of the wait of what this node took in it, ms; null: it took nothing. */
  waitMs: number | null
  /** 99th percentile of how late the timers of this node ran in the last minute, ms. */
  lagMs: number | null
}

/** Dead letters that nobody has redriven: how many, counted to a hundred, and the newest one. */
export interface LettersBrief {
  open: number
  isMore: boolean
  newest?: string
}

/** How well the node that was asked is. */
export interface HealthBrief {
  status: LiveStatus
  /** 0 is best; there is no worst. */
  score: number
  /** 0 to 1, 1 is best; not there while nobody can tell. */
  level?: number
  /** Sensors that see something, of all. */
  coverage: { seeing: number; of: number }
  /** The others, and why they see nothing. */
  blind: string[]
  /** What makes the score, the heaviest first, each as a phrase. */
  because: string[]
}

/** What a part of the view could not be had for, by the part. */
export type Troubles = Partial<Record<'fleet' | 'runs' | 'escalations' | 'letters', string>>

export interface ConsoleView {
  /** Epoch ms. */
  now: number
  /** The node that was asked. */
  node: string
  version: string
  /** Whether whoever looks may change something. */
  canWrite: boolean
  /** Why the node takes no work now; empty when it does. */
  unready: string[]
  system: SystemView | null
  /** Null where nobody watches it. */
  health: HealthBrief | null
  nodes: NodeBrief[]
  leases: LeaseBrief[]
  escalations: EscalationLine[]
  letters: LettersBrief
  /** The newest, and those that are not finished, as far as they are few. */
  runs: RunBrief[]
  /** Runs that are not finished. */
  unfinished: number
  troubles: Troubles
  /** The last minutes. */
  points: Point[]
}

/** Tasks that ended alike and said the same, as `?fold=exact` answers. */
export interface FoldedGroup {
  outcome: Outcome
  count: number
  /** Seq of the first one; -1 for tasks that were only counted. */
  firstSeq: number
  /** The first few tasks, as people call them. */
  names: string[]
  /** Why it is not ok, in a few words. */
  detail: string
  /** What it said, cut to a screenful. */
  text: string[]
  hiddenLines: number
}

export interface FoldedResults {
  /** Failures last. */
  items: FoldedGroup[]
  /** False: some tasks were only counted. */
  isWhole: boolean
}

/**
 * What has changed: parts that are there replace those before; a run replaces the one of its id,
 * and a point follows the ones before.
 */
export interface ConsoleDelta
  extends Partial<Omit<ConsoleView, 'node' | 'version' | 'canWrite' | 'points'>> {
  now: number
  point?: Point
}
