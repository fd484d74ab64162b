/**
 * Leases in a world that goes wrong in thousands of ways, each decided by one number. `SEED=n`
 * begins with that one, `SIMULATION_SEEDS=n` runs so many: `SEED=n SIMULATION_SEEDS=1` repeats one.
 */
import { describe, expect, test } from 'bun:test'
import type { Leases } from '../../actors/ports-fleet.ts'
import { testSeed } from '../kit/random.ts'
import { type LeaseSimulation, simulateLeases } from './lease-fleet.ts'

const first = testSeed()
const seeds = Number(process.env['SIMULATION_SEEDS'] ?? 2000)

const simulation: LeaseSimulation = {
  times: { ttlMs: 1750, renewMs: 500, operationTimeoutMs: 300 },
  skewMax: 0.05,
}

/** The first seed that breaks something, and what. */
async function firstBroken(count: number, over: Partial<LeaseSimulation>) {
  for (let seed = first; seed < first + count; seed += 1) {
    try {
      await simulateLeases(seed, { ...simulation, ...over })
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    }
  }
  return undefined
}

describe('leases, simulated', () => {
  test('whatever goes wrong, one leads, epochs grow, and somebody takes over', async () => {
    let grants = 0
    let tenures = 0
    let writes = 0
    for (let seed = first; seed < first + seeds; seed += 1) {
      try {
        const report = await simulateLeases(seed, simulation)
        grants += report.grants
        tenures += report.tenures
        writes += report.writes
      } catch (error) {
        throw new Error(`SEED=${seed} SIMULATION_SEEDS=1 repeats it: ${String(error)}`, {
          cause: error,
        })
      }
    }
    console.log(
      `${seeds} seeds from ${first}: ${grants} grants, ${tenures} tenures, ${writes} writes`,
    )
    expect(tenures).toBeGreaterThanOrEqual(seeds * 3)
    expect(writes).toBeGreaterThan(seeds)
  }, 300_000)

  test('the same seed gives the same course', async () => {
    const course = await simulateLeases(first, simulation)
    expect(await simulateLeases(first, simulation)).toEqual(course)
  })
})

describe('the simulation finds', () => {
  const sabotaged = (change: (leases: Leases) => Partial<Leases>) => ({
    sabotage: (leases: Leases) => ({ ...leases, ...change(leases) }),
  })

  test('clocks that are further off than the margin bears', async () => {
    expect(await firstBroken(500, { skewMax: 0.3 })).toMatch(/still believes|several hold/)
  })

  test('a server that renews what is lost', async () => {
    const broken = sabotaged(() => ({ renew: async () => true }))
    expect(await firstBroken(200, broken)).toMatch(/still believes|several hold/)
  })

  test('a server that takes writes of earlier grants', async () => {
    const broken = sabotaged(() => ({ put: async () => undefined }))
    expect(await firstBroken(500, broken)).toContain('was taken after')
  })

  test('a server that forgets its counter', async () => {
    const broken = sabotaged((leases) => ({
      acquire: async (...args) => {
        const acquired = await leases.acquire(...args)
        return acquired.granted ? { granted: true, epoch: 1 } : acquired
      },
    }))
    expect(await firstBroken(20, broken)).toContain('epoch 1')
  })

  test('a release that nobody hears of', async () => {
    const broken = sabotaged(() => ({ watch: async () => async () => undefined }))
    expect(await firstBroken(20, broken)).toContain('at once after the leader has left')
  })
})
