/**
 * Randomness that can be repeated: one number, SEED, decides all of it. A run that fails prints its
 * seed; the same SEED in the environment runs it again.
 */

export interface Random {
  readonly seed: number
  /** A number in 0…1, 1 excluded. */
  next(): number
  /** A whole number from `min` to `max`, both included. */
  integer(min: number, max: number): number
  /** True for `share` (0…1) of the calls. */
  chance(share: number): boolean
  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T
}

/** The seed of this test run: SEED, else one that is drawn and printed at its first use. */
export function testSeed(): number {
  const given = process.env['SEED']
  if (given !== undefined && given !== '') {
    const seed = Number(given)
    if (!Number.isInteger(seed)) throw new Error(`SEED: expected a whole number, got "${given}"`)
    return seed
  }
  const drawn = Math.trunc(Math.random() * 2 ** 31)
  process.env['SEED'] = String(drawn)
  console.log(`SEED=${drawn}`)
  return drawn
}

export function seededRandom(seed: number = testSeed()): Random {
  let state = seed >>> 0
  // mulberry32: 32 bits of state are plenty for choosing faults and orders.
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    seed,
    next,
    integer: (min, max) => min + Math.floor(next() * (max - min + 1)),
    chance: (share) => next() < share,
    pick: <T>(list: readonly T[]): T => {
      const index = Math.floor(next() * list.length)
      if (index >= list.length) throw new Error('pick: expected a list with something in it')
      return list[index] as T
    },
  }
}
