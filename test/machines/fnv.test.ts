import { expect, test } from 'bun:test'
import { assert, property, string } from 'fast-check'
import { fnv1a } from '../../machines/fnv.ts'

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
