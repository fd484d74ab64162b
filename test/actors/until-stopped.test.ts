import { expect, test } from 'bun:test'
import { untilStopped } from '../../actors/live-run.ts'
import type { SourcePiece } from '../../actors/source.ts'

const pieces = 300

test('of a source that is read for long no piece is kept', async () => {
  const seen: WeakRef<SourcePiece>[] = []
  const source = async function* (): AsyncGenerator<SourcePiece> {
    for (let lines = 1; lines <= pieces; lines += 1) {
      const piece = { lines, accepted: [], rejected: [] } as unknown as SourcePiece
      seen.push(new WeakRef(piece))
      yield piece
    }
    // Still open when it is looked at: nothing is let go because it has ended.
    await new Promise(() => {})
  }
  const never = new AbortController().signal
  const reading = untilStopped(source, never, never)(0)[Symbol.asyncIterator]()
  for (let piece = 0; piece < pieces; piece += 1) await reading.next()
  void reading.next()
  // What a promise was fulfilled with is let go only when its job is over.
  await new Promise((resolve) => setImmediate(resolve))
  Bun.gc(true)
  const kept = seen.filter((piece) => piece.deref() !== undefined).length
  expect(kept).toBeLessThan(pieces / 10)
})
