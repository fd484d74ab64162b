/** What a row of the table is: one fault, tried with many seeds. */

import type { Verdict } from '../kit/oracle.ts'
import { lasting } from '../kit/outage.ts'
import type { Random } from '../kit/random.ts'

export interface Trial extends Verdict {
  /** From the fault to the end of everything that was submitted, ms. */
  recoveryMs: readonly number[]
}

export interface Row {
  name: string
  /** In words, for the table. */
  fault: string
  /** Of a full run. */
  seeds: number
  /** Seeds at a time, where a trial mostly waits. Default 1. */
  atOnce?: number
  /** Not run unless it is named. */
  onDemand?: boolean
  /** @param index of the seed: 0, 1 … */
  run(random: Random, index: number): Promise<Trial>
}

export function trial(verdict: Verdict, recoveryMs: readonly number[] = []): Trial {
  return { ...verdict, recoveryMs }
}

/** Adds what a row found out by itself. */
export function also(verdict: Trial, problems: readonly (string | false | undefined)[]): Trial {
  const found = problems.filter((problem) => typeof problem === 'string')
  return { ...verdict, problems: [...verdict.problems, ...found] }
}

/** Lets a random time of the work pass. */
export function someTime(random: Random, fromMs: number, toMs: number): Promise<void> {
  return lasting(random.integer(fromMs, toMs))
}
