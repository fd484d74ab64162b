/**
 * The seven ways a task can end, and how they are written down.
 *
 * The outcome map of a run holds four bits a task, so an outcome is also a small number; 0 means
 * "not final yet". The numbers are wire format: they stand in Redis. Never renumber them.
 */

export const outcomes = [
  'ok',
  'failed',
  'timeout',
  'cancelled',
  'expired',
  'dead',
  'unreached',
] as const

export type Outcome = (typeof outcomes)[number]

/** Counts by outcome, and what is not final yet. They always sum to the run's total. */
export type Counts = Record<Outcome | 'pending', number>

/** The number of an outcome in the outcome map: 1…7. */
export function outcomeCode(outcome: Outcome): number {
  return outcomes.indexOf(outcome) + 1
}

/** The outcome with that number, or undefined for 0 (not final yet). */
export function outcomeOf(code: number): Outcome | undefined {
  return outcomes[code - 1]
}

export function isOutcome(word: string): word is Outcome {
  return (outcomes as readonly string[]).includes(word)
}

export function noCounts(): Counts {
  return {
    ok: 0,
    failed: 0,
    timeout: 0,
    cancelled: 0,
    expired: 0,
    dead: 0,
    unreached: 0,
    pending: 0,
  }
}
