import { describe, expect, test } from 'bun:test'
import { pack } from '../../actors/envelope.ts'
import { loadConfig } from '../../config/load.ts'
import { packLimits } from '../../runtime/pack-limits.ts'
import { itemsOf, kindOf, ok, taskOf } from '../actors/world.ts'

const fileValues = {
  limits: {
    slow: { rate: 40, burst: 1 },
    'source:crm': { rate: 20, burst: 1 },
    'source:rare': { rate: 0.01, burst: 1 },
  },
}
const { config } = loadConfig({ fileValues })
const paces = { of: () => 1 }

const fromSource = (source: string) => ({ labels: { source } })
const sizesOf = (items: Parameters<typeof itemsOf>[0]) =>
  pack('r-1', itemsOf(items), 0, packLimits(config, new Map(), paces)).map(({ seqs, tasks }) => [
    seqs[0]?.[0],
    tasks.length,
  ])

describe('packing', () => {
  test('makes envelopes of a quarter second of work', () => {
    const items = Array.from({ length: 300 }, () => taskOf('job', fromSource('other')))
    expect(sizesOf(items)).toEqual([
      [0, 250],
      [250, 50],
    ])
  })

  test('counts on tasks running side by side: on eight, or an eighth of the slots', () => {
    const sizeOf = (concurrency: number) => {
      const kind = { ...kindOf('job', async () => ok), concurrency }
      const limits = packLimits(config, new Map([['job', kind]]), { of: () => 10 })
      const items = Array.from({ length: 1000 }, () => taskOf('job'))
      return pack('r-1', itemsOf(items), 0, limits)[0]?.tasks.length
    }
    expect([1, 2, 8, 64, 256].map(sizeOf)).toEqual([25, 50, 200, 200, 800])
  })

  test('puts no more into one than its limits let begin in that time, and at least one', () => {
    const slow = Array.from({ length: 12 }, () => taskOf('slow'))
    expect(sizesOf(slow).map(([, size]) => size)).toEqual([10, 2])
    const crm = Array.from({ length: 12 }, () => taskOf('slow', fromSource('crm')))
    expect(sizesOf(crm).map(([, size]) => size)).toEqual([5, 5, 2])
    const rare = Array.from({ length: 2 }, () => taskOf('job', fromSource('rare')))
    expect(sizesOf(rare).map(([, size]) => size)).toEqual([1, 1])
  })

  test('keeps the tasks of a limited source apart from those that need not wait', () => {
    const items = ['crm', 'other', 'crm', 'shop'].map((source) => taskOf('job', fromSource(source)))
    expect(sizesOf(items)).toEqual([
      [0, 2],
      [1, 2],
    ])
  })
})
