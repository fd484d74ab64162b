/** Batches of results as they travel: what some have to say is one text, and says the same. */
import { expect, test } from 'bun:test'
import { linesOf, moreOf, pick, type ResultBatch, sealed } from '../../actors/results.ts'

const batch: ResultBatch = {
  run: 'r-1',
  kind: 'job',
  attempt: 1,
  node: 'n-1',
  worker: 'w-1',
  seqs: [
    [0, 2],
    [5, 1],
  ],
  outcomes: '112',
  at: 1000,
  startedAt: [0, 1, 2],
  durationMs: [1, 2, 3],
  queueMs: [0, 0, 0],
  more: [
    { output: { a: 'ü"\n' }, trace: '00-1-2-01' },
    null,
    { error: { code: 'C', message: 'M' } },
  ],
}

test('a batch that travels says what it said before, and is sealed once', () => {
  const sent = sealed(batch)
  expect(sent.more).toBeString()
  expect(sealed(sent)).toBe(sent)
  expect(moreOf(sent)).toEqual(moreOf(batch))
  expect([...linesOf(sent)]).toEqual([...linesOf(batch)])
})

test('of a batch that travels some tasks can be picked, each with what is its own', () => {
  const kept = (_: number, seq: number) => seq !== 0
  const picked = pick(sealed(batch), kept)
  expect(picked).toEqual(pick(batch, kept))
  expect(picked).toMatchObject({
    seqs: [
      [1, 1],
      [5, 1],
    ],
    outcomes: '12',
  })
  expect(picked?.more).toEqual([null, { error: { code: 'C', message: 'M' } }])
})

test('a batch with nothing more to say stays as it is', () => {
  const { more: _, ...plain } = batch
  expect(sealed(plain)).toBe(plain)
  expect(moreOf(plain)).toBeUndefined()
})
