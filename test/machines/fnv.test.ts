import { expect, test } from 'bun:test'
import { assert, property, string } from 'fast-check'
import { fnv1a, fnv1a64, shardOf } from '../../machines/fnv.ts'

test('the published vectors of FNV-1a hold', () => {
  expect(fnv1a('')).toBe(0x811c9dc5)
  expect(fnv1a('a')).toBe(0xe40c292c)
  expect(fnv1a('b')).toBe(0xe70c2de5)
  expect(fnv1a('foobar')).toBe(0xbf9cf968)
})

test('any text gives a whole number of 32 bits, always the same', () => {
  assert(
    property(string({ unit: 'binary' }), (text) => {
      const hash = fnv1a(text)
      expect(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 32).toBe(true)
      expect(fnv1a(text)).toBe(hash)
    }),
  )
})

test('keys spread over sixteen partitions', () => {
  const counts = Array.from({ length: 16 }, () => 0)
  for (let key = 0; key < 16_000; key += 1) {
    const partition = fnv1a(`host-${key}`) % 16
    counts[partition] = (counts[partition] ?? 0) + 1
  }
  expect(Math.min(...counts)).toBeGreaterThan(800)
  expect(Math.max(...counts)).toBeLessThan(1200)
})

test('the published vectors of FNV-1a with 64 bits hold, over UTF-8', () => {
  expect(fnv1a64('')).toBe(0xcbf29ce484222325n)
  expect(fnv1a64('a')).toBe(0xaf63dc4c8601ec8cn)
  expect(fnv1a64('m-1')).toBe(0x08dba019181b0c9an)
  expect(fnv1a64('ä')).toBe(0x0ac21207b7181582n)
})

test('keys belong to the shards that other programs would give them', () => {
  const shards = [2, 3, 4, 8]
  const vectors: Record<string, number[]> = {
    'm-1': [0, 2, 2, 2],
    'm-2': [1, 1, 3, 7],
    'm-3': [0, 0, 0, 4],
    a: [0, 1, 0, 4],
    kalshi_fed_q2: [1, 0, 3, 7],
    polymarket_yes: [1, 1, 3, 7],
  }
  for (const [key, expected] of Object.entries(vectors)) {
    expect(shards.map((count) => shardOf(key, count))).toEqual(expected)
  }
})

test('less than one shard is an error', () => {
  for (const count of [0, -1, 1.5, Number.NaN])
    expect(() => shardOf('a', count)).toThrow(RangeError)
})
