import { describe, expect, test } from 'bun:test'
import { ConfigError } from '../../config/errors.ts'
import { loadConfig } from '../../config/load.ts'

const read = (health: object) => loadConfig({ fileValues: { health }, env: {} }).config.health

function complaint(health: object): string {
  try {
    read(health)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

describe('[health]', () => {
  test('has the thresholds of the audit and the hysteresis of the state by default', () => {
    expect(read({})).toMatchObject({
      degradedScore: 400,
      criticalScore: 1200,
      collapseScore: 2500,
      worsenMs: 3000,
      mendMs: 10_000,
      highWaterBytes: 0,
    })
    expect(read({ highWaterBytes: 2 ** 30, mendMs: '1m' })).toMatchObject({
      highWaterBytes: 2 ** 30,
      mendMs: 60_000,
    })
  })

  test.each([
    [{ degradedScore: 1200 }, 'health.degradedScore'],
    [{ criticalScore: 3000 }, 'health.criticalScore'],
    [{ degradedScore: 0 }, 'health.degradedScore'],
    [{ highWaterBytes: 1000 }, 'health.highWaterBytes'],
    [{ lowWaterShare: 1 }, 'health.lowWaterShare'],
    [{ windowMs: '1s' }, 'health.windowMs'],
    [{ highWater: 1 }, 'health.highWater'],
  ])('refuses %j by its key', (health, path) => {
    expect(complaint(health)).toContain(path)
  })
})
