import { describe, expect, test } from 'bun:test'
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import type { PieceHashes, Source } from '../../actors/source.ts'
import { listSource, ndjsonSource } from '../../runtime/intake.ts'
import { lineBytesMax } from '../../runtime/lines.ts'
import { testSeed } from '../kit/random.ts'

const options = { kinds: new Map(), lingerMs: 0 }
const sha256 = (lines: readonly Uint8Array[]) => {
  const hash = createHash('sha256')
  for (const line of lines) hash.update(line).update('\n')
  return hash.digest('hex')
}
const bytesOf = (text: string) => new TextEncoder().encode(text)

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size)
}

async function hashesOf(source: Source, afterLine = 0): Promise<PieceHashes[]> {
  const found: PieceHashes[] = []
  for await (const { hashes } of source(afterLine, true))
    if (hashes !== undefined) found.push(hashes)
  return found
}

/** Every line's hash is that of the lines up to it, whichever piece is asked. */
function expectHashes(pieces: readonly PieceHashes[], lines: readonly Uint8Array[]): void {
  expect(pieces.at(-1)?.to ?? 0).toBe(lines.length)
  let to = 0
  for (const piece of pieces) {
    expect(piece.from).toBe(to)
    to = piece.to
    for (const at of [piece.from, Math.floor((piece.from + piece.to) / 2), piece.to]) {
      expect(piece.of(at)).toBe(sha256(lines.slice(0, at)))
    }
  }
}

const line = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }).map(bytesOf),
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom('', ' \t', '\r', '\ufeff{}', '\ufeff', '{"kind":"noop"}', '{}\r').map(bytesOf),
)
const isBlank = (bytes: Uint8Array) => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).trim() === ''
  } catch {
    return false
  }
}

describe('the hash of lines', () => {
  test('is that of their bytes, blank ones left out, however they come', async () => {
    const given = fc.record({
      lines: fc.array(
        line.map((bytes) => bytes.filter((byte) => byte !== 10)),
        { maxLength: 60 },
      ),
      size: fc.integer({ min: 1, max: 200 }),
      isEnded: fc.boolean(),
      after: fc.constantFrom(0, 3, Number.POSITIVE_INFINITY),
    })
    await fc.assert(
      fc.asyncProperty(given, async ({ lines, size, isEnded, after }) => {
        const text = Buffer.concat(lines.flatMap((bytes) => [bytes, bytesOf('\n')]))
        const sent = isEnded ? text : text.subarray(0, -1)
        const pieces = await hashesOf(ndjsonSource(inChunks(sent, size), options), after)
        expectHashes(
          pieces,
          lines.filter((bytes) => !isBlank(bytes)),
        )
      }),
      { seed: testSeed(), numRuns: 300 },
    )
  })

  test('takes in lines that are too long to be kept, to their end', async () => {
    const long = (end: string) => bytesOf('x'.repeat(lineBytesMax + 100_000) + end)
    const lines = [bytesOf('{}'), long('a'), bytesOf('{}'), long('b'), long('c')]
    const text = Buffer.concat(lines.flatMap((bytes) => [bytes, bytesOf('\n')]))
    for (const size of [7_000, 65_536, 1_000_000, text.length]) {
      expectHashes(await hashesOf(ndjsonSource(inChunks(text, size), options)), lines)
    }
  })

  test('is known at every line of a piece of thousands', async () => {
    const lines = Array.from({ length: 9_000 }, (_, index) => bytesOf(`{"kind":"k${index}"}`))
    const text = Buffer.concat(lines.flatMap((bytes) => [bytes, bytesOf('\n')]))
    const pieces = await hashesOf(ndjsonSource(inChunks(text, text.length), options))
    expect(pieces.length).toBeGreaterThan(1)
    expectHashes(pieces, lines)
  })

  test('of a list is that of its tasks as lines without white space', async () => {
    const tasks = [{ kind: 'noop', input: { text: 'ü\n' } }, 5, null, { a: [1, { b: 2 }] }]
    const lines = tasks.map((task) => bytesOf(JSON.stringify(task)))
    expectHashes(await hashesOf(listSource(tasks, options.kinds)), lines)
    expectHashes(await hashesOf(listSource(tasks, options.kinds), Number.POSITIVE_INFINITY), lines)
    let deep: unknown = 1
    for (let depth = 0; depth < 20_000; depth += 1) deep = [deep]
    const pieces = await hashesOf(listSource([tasks[0], deep], options.kinds))
    expect(pieces.at(-1)?.of(1)).toBe(sha256(lines.slice(0, 1)))
  })

  test('is not made unless it is asked for', async () => {
    const sources = [
      ndjsonSource(inChunks(bytesOf('{}\n{}'), 10), options),
      listSource([{}], options.kinds),
    ]
    for (const source of sources) {
      for await (const piece of source(0)) expect(piece.hashes).toBeUndefined()
    }
  })
})
