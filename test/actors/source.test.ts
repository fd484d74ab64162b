import { describe, expect, test } from 'bun:test'
import { array, assert, asyncProperty, integer, option } from 'fast-check'
import { numberTasks, type SourceLine } from '../../actors/source.ts'
import { memoryWorld, taskOf } from './world.ts'

async function openRun() {
  const { accounting } = memoryWorld()
  await accounting.open({ id: 'r-1', createdAt: 0, driver: 'test' })
  const number = (firstSeq: number, lines: readonly SourceLine[]) =>
    numberTasks(accounting, 'r-1', firstSeq, lines)
  return { accounting, number }
}

function good(line: number, id?: string): SourceLine {
  return { line, bytes: 10, accepted: taskOf('noop', id === undefined ? {} : { id }) }
}

function bad(line: number): SourceLine {
  return { line, bytes: 10, rejection: { line, path: 'kind', message: 'expected a known kind' } }
}

describe('numbering tasks', () => {
  test('gives good lines the next seqs, and bad ones none', async () => {
    const { number } = await openRun()
    const numbered = await number(5, [good(1), bad(2), good(4)])
    expect(numbered.items.map(({ seq }) => seq)).toEqual([5, 6])
    expect(numbered.rejected.map(({ line }) => line)).toEqual([2])
    expect(numbered.accepted).toBe(7)
  })

  test('refuses an id that an earlier line has, of this piece or of one before', async () => {
    const { number } = await openRun()
    const first = await number(0, [good(1, 'a'), good(2, 'b'), good(3, 'a'), good(4)])
    expect(first.items.map(({ seq, task }) => [seq, task.id])).toEqual([
      [0, 'a'],
      [1, 'b'],
      [2, undefined],
    ])
    expect(first.rejected).toEqual([
      { line: 3, path: 'id', message: 'expected an id that is new in this run, got "a" again' },
    ])
    const second = await number(first.accepted, [good(5, 'b'), good(6, 'c')])
    expect(second.rejected.map(({ line }) => line)).toEqual([5])
    expect(second.items.map(({ seq, task }) => [seq, task.id])).toEqual([[3, 'c']])
  })

  test('notes which seq each id belongs to', async () => {
    const { accounting, number } = await openRun()
    await number(0, [good(1), good(2, 'a'), bad(3), good(4, 'b')])
    expect(await accounting.seqsOf('r-1', ['a', 'b', 'c'])).toEqual([1, 2, undefined])
  })

  test('the ids of a piece that was never committed are not taken', async () => {
    const { number } = await openRun()
    const lines = [good(1, 'a'), good(2, 'b'), good(3, 'a')]
    const lost = await number(0, lines)
    expect(await number(0, lines)).toEqual(lost)
  })

  test('comes to the same however the lines are cut, also when pieces are lost', async () => {
    const ids = array(option(integer({ min: 0, max: 6 }), { nil: undefined }), { maxLength: 30 })
    const cuts = array(integer({ min: 1, max: 7 }), { minLength: 30, maxLength: 30 })
    await assert(
      asyncProperty(ids, cuts, cuts, async (all, sizes, lostSizes) => {
        const lines = all.map((id, index) => {
          return good(index + 1, id === undefined ? undefined : `id-${id}`)
        })
        const whole = await (await openRun()).number(0, lines)
        const { number } = await openRun()
        const seqs: (readonly [number, string | undefined])[] = []
        const rejected: number[] = []
        let accepted = 0
        let at = 0
        for (let piece = 0; at < lines.length; piece += 1) {
          // The process dies before this look at the source is committed, and looks again.
          await number(accepted, lines.slice(at, at + (lostSizes[piece] ?? 1)))
          const size = sizes[piece] ?? 1
          const numbered = await number(accepted, lines.slice(at, at + size))
          seqs.push(...numbered.items.map(({ seq, task }) => [seq, task.id] as const))
          rejected.push(...numbered.rejected.map(({ line }) => line))
          accepted = numbered.accepted
          at += size
        }
        expect(seqs).toEqual(whole.items.map(({ seq, task }) => [seq, task.id] as const))
        expect(rejected).toEqual(whole.rejected.map(({ line }) => line))
        expect(accepted).toBe(whole.accepted)
      }),
    )
  })
})
