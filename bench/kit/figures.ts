/** What is made of many measurements. Percentiles, never means: a mean hides what is rare. */

/** The smallest number that at least this share (0…1) of all are not above; NaN of none. */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN
  return (lower + upper) / 2
}

/** Of rates, where slow is bad: what all but 1 % of the rounds reach. */
export function slowest(rates: readonly number[]): number {
  return -percentile(
    rates.map((rate) => -rate),
    0.99,
  )
}

export const mebibytes = (bytes: number): number => bytes / 1_048_576

/** Runs each side in turns, ABAB, so that a change of the machine's mood meets both. */
export async function inTurns<Side extends string, Figures>(
  rounds: number,
  sides: Record<Side, () => Promise<Figures>>,
): Promise<Record<Side, Figures[]>> {
  const names = Object.keys(sides) as Side[]
  const all = Object.fromEntries(names.map((name) => [name, [] as Figures[]]))
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) all[name]?.push(await sides[name]())
  }
  return all as Record<Side, Figures[]>
}

/** What one side did in one round. */
export interface Pace {
  perSecond: number
  /** Processor time of all that took part, µs a task: neighbours hardly change it. */
  cpuUs: number
}

export interface Comparison {
  throughput: number
  processorTime: number
}

/** How many times better the first side is, by the median of the rounds. */
export function comparison(first: readonly Pace[], second: readonly Pace[]): Comparison {
  const times = (quotient: (one: Pace, other: Pace) => number) =>
    median(first.map((one, round) => quotient(one, second[round] ?? one)))
  return {
    throughput: times((one, other) => one.perSecond / other.perSecond),
    processorTime: times((one, other) => other.cpuUs / one.cpuUs),
  }
}
