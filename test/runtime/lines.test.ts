/** Bytes to lines, in whatever pieces they come and however many lines are wanted at a time. */
import { expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { LineSplitter, type RawLine } from '../../runtime/lines.ts'
import { LinesHash } from '../../runtime/lines-hash.ts'
import { testSeed } from '../kit/random.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)
const line = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('{"a":1}', '{}').map(bytesOf) },
  fc.constantFrom('', ' ', '\r', '{"ü":"☃"}', '\ufeff{}', '{}\r', 'x').map(bytesOf),
  fc.uint8Array({ maxLength: 5 }).map((bytes) => bytes.filter((byte) => byte !== 10)),
)
const given = fc.record({
  lines: fc.array(line, { maxLength: 30 }),
  isEnded: fc.boolean(),
  sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 10 }),
  linesMax: fc.integer({ min: 1, max: 5 }),
})

/** One line after the other, by what is said of them. */
function expected(
  lines: readonly Uint8Array[],
): (Omit<RawLine, 'hashed'> & { whole: Uint8Array })[] {
  const found: (Omit<RawLine, 'hashed'> & { whole: Uint8Array })[] = []
  lines.forEach((whole, index) => {
    const place = { number: index + 1, place: found.length + 1, bytes: whole.length, whole }
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(whole)
      if (text.trim() !== '') found.push({ ...place, text })
    } catch {
      found.push({ ...place, problem: 'expected UTF-8, got other bytes' })
    }
  })
  return found
}

test('lines are found once each, with their numbers, and hashed up to where a piece ends', () => {
  fc.assert(
    fc.property(given, fc.boolean(), ({ lines, isEnded, sizes, linesMax }, isHashed) => {
      const ends = isEnded || lines.length === 0
      const all = Buffer.concat(lines.flatMap((bytes) => [bytes, bytesOf('\n')]))
      const sent = ends ? all : all.subarray(0, -1)
      const hash = isHashed ? new LinesHash() : undefined
      const splitter = new LineSplitter(hash)
      const wanted = expected(lines)
      const pieces: RawLine[][] = [[]]
      const endPiece = () => {
        const piece = pieces.at(-1) ?? []
        const so = pieces.flat().length
        const hashes = hash?.next(piece)
        const known = createHash('sha256')
        for (const { whole } of wanted.slice(0, so)) known.update(whole).update('\n')
        if (hashes !== undefined) expect(hashes.of(so)).toBe(known.digest('hex'))
        pieces.push([])
      }
      let at = 0
      for (let turn = 0; at < sent.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 1
        const chunk = sent.subarray(at, at + size)
        for (let from = 0; from < chunk.length; ) {
          const piece = pieces.at(-1) ?? []
          from += splitter.push(chunk.subarray(from), piece, linesMax)
          expect(piece.length).toBeLessThanOrEqual(linesMax)
          if (piece.length === linesMax) endPiece()
        }
        at += size
      }
      splitter.end(pieces.at(-1) ?? [])
      endPiece()
      const found = pieces.flat().map(({ hashed: _, ...said }) => said)
      expect(found).toEqual(wanted.map(({ whole: _, ...said }) => said))
    }),
    { seed: testSeed(), numRuns: 3000 },
  )
})
