/** Outputs in JSON take a bounded room, whatever they are made of. */
import { describe, expect, test } from 'bun:test'
import { assert, constantFrom, integer, property } from 'fast-check'
import { OutputHead } from '../../actors/output-head.ts'
import { outputBytesHighest, sayable } from '../../actors/sayable.ts'

const saidMax = 2 * outputBytesHighest
/** Not of JSON's own quotes. */
const roomOf = (text: string) => JSON.stringify(text).length - 2

describe('an output', () => {
  test('of text is said to its end, lines and quotes and all', () => {
    for (const text of ['', 'a'.repeat(outputBytesHighest), '\n"'.repeat(outputBytesHighest / 2)]) {
      expect(sayable(text)).toBe(text)
    }
  })

  test('of whatever characters has its head said, as much as there is room for', () => {
    const pieces = constantFrom(
      '\0',
      'a\0',
      '"\u0001',
      '😀\u0002',
      'é\u001b[0m',
      '\u0003'.repeat(7),
    )
    assert(
      property(pieces, integer({ min: 0, max: 7 }), (piece, shift) => {
        const text = 'x'.repeat(shift) + piece.repeat(Math.ceil((2 * saidMax) / roomOf(piece)))
        const said = sayable(text)
        expect(text.startsWith(said)).toBeTrue()
        expect(said.isWellFormed()).toBeTrue()
        expect(roomOf(said)).toBeWithin(saidMax - 6, saidMax + 1)
      }),
      { numRuns: 12 },
    )
  })

  test('that is not all said is truncated, and its bytes are counted', () => {
    const head = new OutputHead(outputBytesHighest)
    head.add(new Uint8Array(outputBytesHighest))
    expect(roomOf(head.text())).toBeLessThanOrEqual(saidMax)
    expect([head.truncated, head.bytes]).toEqual([true, outputBytesHighest])
  })
})
