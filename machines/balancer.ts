/**
 * Which of several nodes gets an envelope: who may have it, how well each would do, and who is
 * chosen. Nothing but arithmetic; what the nodes are like is measured elsewhere.
 */

export const strategies = [
  'weighted',
  'cost-latency',
  'least-loaded',
  'round-robin',
  'random',
] as const
export type Strategy = (typeof strategies)[number]

/** Weight of the newest measurement in what is remembered of a node. */
const historyAlpha = 0.3

/** What is remembered of the work of a node. */
export interface WorkHistory {
  /** Share of attempts that went well, 0…1. */
  successRate: number
  /** How long an attempt takes, ms. */
  latencyMs: number
  /** Attempts that this is made of. */
  samples: number
}

/** Of a node that nothing is known of: as good as any, so that it gets the chance to show it. */
export const unknownHistory: WorkHistory = { successRate: 1, latencyMs: 750, samples: 0 }

/** So many attempts that ended together. */
export interface WorkSample {
  attempts: number
  ok: number
  /** Of all of them. */
  durationMs: number
}

/** The first sample stands for itself: an average that began at 0 would be too low for long. */
export function foldHistory(
  before: WorkHistory | undefined,
  { attempts, ok, durationMs }: WorkSample,
): WorkHistory {
  if (attempts <= 0) return before ?? unknownHistory
  const sample = { successRate: ok / attempts, latencyMs: durationMs / attempts }
  if (before === undefined || before.samples === 0) return { ...sample, samples: attempts }
  const fold = (old: number, now: number) => old * (1 - historyAlpha) + now * historyAlpha
  return {
    successRate: fold(before.successRate, sample.successRate),
    latencyMs: fold(before.latencyMs, sample.latencyMs),
    samples: before.samples + attempts,
  }
}

/** A node as it stands now. */
export interface Candidate extends WorkHistory {
  id: string
  /** Tasks at hand. */
  active: number
  /** Tasks that wait in its own mailbox. */
  queue: number
  /** What a task costs there, in any unit; above 0. */
  cost: number
}

/** What keeps a node from being chosen as long as there is another. */
export interface Standing extends WorkHistory {
  state: 'joining' | 'alive' | 'suspect' | 'draining' | 'dead'
  /** The host of its name is probed, and does not answer. */
  isOffline?: boolean
  /** Since it was last heard. */
  silentMs: number
  /** Tasks that hold room in its mailbox, and the most that may. */
  used: number
  usedMax: number
}

export interface EligibilityLimits {
  /** Silence from which on it is stale; at it, it is not yet. */
  staleMs: number
  /** Below this share of attempts that went well … */
  successMin: number
  /** … after so many of them. */
  samplesMin: number
}

/** Tasks that fill a node, where what it has to do does not count by itself. */
export const fillTasks = 64

function fillsOf({ active, queue }: Pick<Candidate, 'active' | 'queue'>): number {
  return Math.floor((active + queue) / fillTasks)
}

export const eligibilityDefaults: EligibilityLimits = {
  staleMs: 30_000,
  successMin: 0.6,
  samplesMin: 5,
}

/**
 * `gone`: it must not be chosen, whoever else there is. `poor`: only when there is nobody better,
 * for work that waits is still better off there than refused.
 */
export type Ineligible = { why: 'gone' | 'poor'; reason: string }

export function ineligible(
  standing: Standing,
  { staleMs, successMin, samplesMin }: EligibilityLimits = eligibilityDefaults,
): Ineligible | undefined {
  const { state, isOffline, silentMs, used, usedMax, successRate, samples } = standing
  if (state === 'dead' || state === 'draining') return { why: 'gone', reason: state }
  if (silentMs > staleMs) return { why: 'gone', reason: 'stale' }
  if (state !== 'alive') return { why: 'poor', reason: state }
  if (isOffline === true) return { why: 'poor', reason: 'offline' }
  if (used >= usedMax) return { why: 'poor', reason: 'full' }
  if (samples >= samplesMin && successRate < successMin) {
    return { why: 'poor', reason: 'unreliable' }
  }
  return undefined
}

/** At most 2100. What would be below 0 is 0: the busiest must never look like the best. */
export function weightedScore({
  active,
  queue,
  successRate,
}: Pick<Candidate, 'active' | 'queue' | 'successRate'>): number {
  return (
    Math.max(0, 1000 - active * 10) + Math.max(0, 1000 - queue * 5) + Math.trunc(successRate * 100)
  )
}

const costLatencyWeights = { cost: 0.45, success: 0.4, latency: 0.15 }
const latencyWorstMs = 1500

/** At most 1, for a node with little to do. @param costMin of all candidates */
export function costLatencyScore(
  { cost, successRate, latencyMs }: Pick<Candidate, 'cost' | 'successRate' | 'latencyMs'>,
  costMin: number,
  weights = costLatencyWeights,
): number {
  const whole = weights.cost + weights.success + weights.latency
  const quick = Math.min(1, Math.max(0, 1 - latencyMs / latencyWorstMs))
  const sum =
    weights.cost * (costMin / cost) + weights.success * successRate + weights.latency * quick
  return sum / whole
}

/** Candidates and their scores, kept so that a choice is one pass over numbers. */
export interface Pool {
  readonly strategy: Strategy
  /** By id. */
  readonly candidates: readonly Candidate[]
  readonly costMin: number
  readonly scores: Float64Array
  /** Number of the choice at which each was last chosen; 0 is never. */
  readonly chosenAt: Float64Array
  choices: number
}

/**
 * @param chosenBefore the number of its last choice in an earlier pool, by id
 * @param choices made in earlier pools
 */
export function makePool(
  strategy: Strategy,
  candidates: readonly Candidate[],
  chosenBefore: ReadonlyMap<string, number> = new Map(),
  choices = 0,
): Pool {
  const sorted = candidates.map((each) => ({ ...each })).sort(byId)
  const costMin = sorted.reduce((least, { cost }) => Math.min(least, cost), Infinity)
  const pool: Pool = {
    strategy,
    candidates: sorted,
    costMin,
    scores: new Float64Array(sorted.length),
    chosenAt: new Float64Array(sorted.length),
    choices,
  }
  sorted.forEach((candidate, index) => {
    pool.scores[index] = scoreIn(pool, candidate)
    pool.chosenAt[index] = chosenBefore.get(candidate.id) ?? 0
  })
  return pool
}

function byId(a: Candidate, b: Candidate): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

function scoreIn({ strategy, costMin }: Pool, candidate: Candidate): number {
  switch (strategy) {
    case 'weighted':
      return weightedScore(candidate)
    case 'cost-latency':
      // The cheapest gets its fill first; then the others, before it gets more.
      return costLatencyScore(candidate, costMin) - fillsOf(candidate)
    case 'least-loaded':
      return -(candidate.active + candidate.queue)
    default:
      // All are alike: the least recently chosen one goes first, or chance decides.
      return 0
  }
}

/** Why an envelope goes where it goes. */
export interface Decision {
  strategy: Strategy
  /** Nodes that were compared. */
  candidates: number
  /** Nodes that serve the kind and were left out, by reason. */
  excluded?: Record<string, number>
  winner: string
  score: number
  /** Who would have been next, best first, at most two. */
  fallbacks: { node: string; score: number }[]
}

/** Whether the one at `a` goes before the one at `b`. */
function isBetter({ scores, chosenAt }: Pool, a: number, b: number): boolean {
  if (b < 0) return true
  const difference = (scores[a] ?? 0) - (scores[b] ?? 0)
  if (difference !== 0) return difference > 0
  // Of equals the one that has waited longest, then the first by id: it has the lower index.
  return (chosenAt[a] ?? 0) < (chosenAt[b] ?? 0)
}

/**
 * Index of the winner and of the next two; -1 where there are fewer.
 * @param random in 0…1, 1 excluded; asked by `random` alone
 */
export function choose(
  pool: Pool,
  random: () => number,
): readonly [winner: number, second: number, third: number] {
  const { length } = pool.candidates
  if (length === 0) return [-1, -1, -1]
  if (pool.strategy === 'random') {
    const winner = Math.floor(random() * length)
    const next = (step: number) => (length > step ? (winner + step) % length : -1)
    return [winner, next(1), next(2)]
  }
  const { scores, chosenAt } = pool
  let [first, second, third] = [-1, -1, -1]
  // What the third has is at hand: nearly all of many are behind it, and are passed over.
  let leastScore = Number.NEGATIVE_INFINITY
  let leastChosenAt = Number.POSITIVE_INFINITY
  for (let index = 0; index < length; index += 1) {
    const score = scores[index] as number
    if (score < leastScore) continue
    if (score === leastScore && (chosenAt[index] as number) >= leastChosenAt) continue
    if (!isBetter(pool, index, second)) third = index
    else {
      third = second
      if (!isBetter(pool, index, first)) second = index
      else {
        second = first
        first = index
      }
    }
    if (third < 0) continue
    leastScore = scores[third] as number
    leastChosenAt = chosenAt[third] as number
  }
  return [first, second, third]
}

/** So many tasks go to the one at this index: the next choice knows of them. */
export function noteChosen(pool: Pool, index: number, tasks: number): void {
  const candidate = pool.candidates[index]
  if (candidate === undefined) return
  candidate.queue += tasks
  pool.choices += 1
  pool.chosenAt[index] = pool.choices
  pool.scores[index] = scoreIn(pool, candidate)
}

/** Chooses, and notes it; undefined when there is nobody. */
export function decide(pool: Pool, tasks: number, random: () => number): Decision | undefined {
  const [winner, ...next] = choose(pool, random)
  const chosen = pool.candidates[winner]
  if (chosen === undefined) return undefined
  const said = (index: number) => {
    const node = pool.candidates[index]?.id
    return node === undefined ? [] : [{ node, score: pool.scores[index] ?? 0 }]
  }
  const decision: Decision = {
    strategy: pool.strategy,
    candidates: pool.candidates.length,
    winner: chosen.id,
    score: pool.scores[winner] ?? 0,
    fallbacks: next.flatMap(said),
  }
  noteChosen(pool, winner, tasks)
  return decision
}
