/** What every implementation of the letters port must do. */
import { expect, test } from 'bun:test'
import type { Letter, LetterFilter, Letters, NewLetter } from '../../actors/ports-letters.ts'

/** Opens letters nobody has used before. */
export type OpenLetters = (limits?: { keep?: number; bytesMax?: number }) => Promise<Letters>

/** The letter of a task. */
export function letterOf(run: string, seq: number, over: Partial<NewLetter> = {}): NewLetter {
  return {
    id: `${run}.${seq}`,
    at: 1000 + seq,
    mailbox: 'work.job',
    reason: 'poison',
    run,
    seq,
    kind: 'job',
    error: { code: 'POISON', message: 'its worker died 3 times' },
    chain: [{ at: 5, node: 'n-1', worker: 'work.job' }, {}],
    origin: { node: 'n-2', run },
    task: { kind: 'job', input: { list: [], text: 'ü' }, id: `t-${seq}` },
    ...over,
  }
}

/** The letter of a message that nobody understood. */
export function messageLetter(id: string, over: Partial<NewLetter> = {}): NewLetter {
  return {
    id: `work.job/${id}`,
    at: 1000,
    mailbox: 'work.job',
    reason: 'schema',
    error: { code: 'ENVELOPE_VERSION', message: 'expected 1' },
    chain: [],
    origin: { node: 'n-2' },
    message: { id, body: { v: 2, tasks: {}, more: [null] } },
    ...over,
  }
}

export function lettersConformance(open: OpenLetters): void {
  const idsOf = (items: readonly { id: string }[]) => items.map(({ id }) => id)
  const all = async (letters: Letters, filter: LetterFilter = {}, limit = 3): Promise<Letter[]> => {
    const items: Letter[] = []
    let after: string | undefined
    do {
      const page = await letters.list({
        ...filter,
        limit,
        ...(after === undefined ? {} : { after }),
      })
      expect(page.items.length).toBeLessThanOrEqual(limit)
      items.push(...page.items)
      after = page.next
    } while (after !== undefined)
    return items
  }

  test('a letter that was put is listed without its contents and got with them', async () => {
    const letters = await open()
    const letter = letterOf('r-1', 0)
    expect(await letters.put([letter])).toEqual([true])
    const [found] = await letters.get(['r-1.0'])
    expect(found).toEqual({ ...letter, state: 'open', redrives: 0, bytes: expect.any(Number) })
    const { task: _, ...head } = found ?? {}
    expect(await all(letters)).toEqual([head as Letter])
    const parked = messageLetter('m-1')
    await letters.put([parked])
    expect((await letters.get(['work.job/m-1']))[0]).toMatchObject(parked)
    expect(await letters.get(['r-1.1'])).toEqual([undefined])
    expect((found?.bytes ?? 0) > JSON.stringify(letter).length).toBe(true)
  })

  test('the same letter again adds nothing and changes nothing', async () => {
    const letters = await open()
    await letters.put([letterOf('r-1', 0), letterOf('r-1', 1)])
    const before = await all(letters)
    const again = letterOf('r-1', 0, { at: 9999, mailbox: 'work.other' })
    expect(await letters.put([again, letterOf('r-1', 2)])).toEqual([false, true])
    expect(idsOf(await all(letters))).toEqual(['r-1.2', 'r-1.1', 'r-1.0'])
    expect((await all(letters)).slice(1)).toEqual(before)
  })

  test('letters are listed page by page, newest first, each once', async () => {
    const letters = await open()
    for (let seq = 0; seq < 10; seq += 1) await letters.put([letterOf('r-1', seq, { at: 50 })])
    const expected = Array.from({ length: 10 }, (_, seq) => `r-1.${9 - seq}`)
    for (const limit of [1, 3, 10, 11]) {
      expect(idsOf(await all(letters, {}, limit))).toEqual(expected)
    }
    const first = await letters.list({ limit: 4 })
    await letters.put([letterOf('r-1', 10)])
    const rest = await letters.list({ limit: 20, after: first.next ?? '' })
    expect(idsOf([...first.items, ...rest.items])).toEqual(expected)
  })

  test('a filter finds what fits in every field', async () => {
    const letters = await open()
    await letters.put([
      letterOf('r-1', 0),
      letterOf('r-1', 1, { kind: 'other', mailbox: 'work.other' }),
      letterOf('r-2', 0, { reason: 'at-most-once' }),
      messageLetter('m-1'),
    ])
    const found = async (filter: LetterFilter) => idsOf(await all(letters, filter, 1))
    expect(await found({ run: 'r-1' })).toEqual(['r-1.1', 'r-1.0'])
    expect(await found({ run: 'r-1', kind: 'job' })).toEqual(['r-1.0'])
    expect(await found({ mailbox: 'work.job' })).toEqual(['work.job/m-1', 'r-2.0', 'r-1.0'])
    expect(await found({ reason: 'schema' })).toEqual(['work.job/m-1'])
    expect(await found({ reason: 'schema', run: 'r-1' })).toEqual([])
    const claim = await letters.claim('r-1.0', 3)
    await letters.redriven('r-1.0', 'r-9', claim.granted ? claim.puts : 0)
    expect(await found({ state: 'open', run: 'r-1' })).toEqual(['r-1.1'])
    expect(await found({ state: 'redriven' })).toEqual(['r-1.0'])
  })

  test('the oldest go when there are too many, but never the only copy of a message', async () => {
    const letters = await open({ keep: 3 })
    await letters.put([messageLetter('m-1'), messageLetter('m-2')])
    for (let seq = 0; seq < 6; seq += 1) await letters.put([letterOf('r-1', seq)])
    const kept = ['r-1.5', 'r-1.4', 'r-1.3', 'work.job/m-2', 'work.job/m-1']
    expect(idsOf(await all(letters))).toEqual(kept)
    expect(await letters.get(['r-1.2'])).toEqual([undefined])
    const claim = await letters.claim('work.job/m-1', 3)
    await letters.redriven('work.job/m-1', 'work.job', claim.granted ? claim.puts : 0)
    await letters.put([letterOf('r-1', 6)])
    // Sent back, it was the oldest of those that may go.
    expect(idsOf(await all(letters))).toEqual(['r-1.6', 'r-1.5', 'r-1.4', 'work.job/m-2'])
  })

  test('their bytes are bounded too, and the newest stays however large', async () => {
    const letters = await open({ bytesMax: 3000 })
    const large = (seq: number, length: number) =>
      letterOf('r-1', seq, { task: { kind: 'job', input: 'x'.repeat(length) } })
    await letters.put([large(0, 1000), large(1, 1000), large(2, 1000)])
    expect(idsOf(await all(letters))).toEqual(['r-1.2', 'r-1.1'])
    await letters.put([large(3, 10_000)])
    expect(idsOf(await all(letters))).toEqual(['r-1.3'])
    await letters.put([large(4, 10)])
    expect(idsOf(await all(letters))).toEqual(['r-1.4'])
  })

  test('a letter is redriven so many times and no more, whoever asks', async () => {
    const letters = await open()
    await letters.put([letterOf('r-1', 0)])
    const claims = await Promise.all(Array.from({ length: 7 }, () => letters.claim('r-1.0', 3)))
    expect(claims.filter(({ granted }) => granted).length).toBe(3)
    expect(claims.find(({ granted }) => !granted)).toEqual({
      granted: false,
      why: 'often',
      redrives: 3,
    })
    await letters.unclaim('r-1.0')
    expect(await letters.claim('r-1.0', 3)).toEqual({ granted: true, redrives: 3, puts: 1 })
    expect(await letters.claim('r-1.9', 3)).toEqual({ granted: false, why: 'missing' })
    await letters.unclaim('r-1.9')
    await letters.redriven('r-1.9', 'r-2', 1)
    expect(idsOf(await all(letters))).toEqual(['r-1.0'])
  })

  test('a redriven letter says where to, and may be redriven again', async () => {
    const letters = await open()
    await letters.put([letterOf('r-1', 0)])
    for (const run of ['r-2', 'r-3', 'r-3']) {
      const claim = await letters.claim('r-1.0', 9)
      await letters.redriven('r-1.0', run, claim.granted ? claim.puts : 0)
    }
    const expected = { state: 'redriven', redrives: 3, redrivenAs: ['r-2', 'r-3'] } as const
    expect(await all(letters)).toMatchObject([expected])
    // A task that is put again was not settled before: that it was redriven stays true.
    await letters.put([letterOf('r-1', 0)])
    expect(await all(letters)).toMatchObject([expected])
  })

  test('a message that was sent back is gone, until it comes again', async () => {
    const letters = await open({ keep: 1 })
    const id = 'work.job/m-1'
    await letters.put([messageLetter('m-1')])
    const first = await letters.claim(id, 9)
    await letters.redriven(id, 'work.job', first.granted ? first.puts : 0)
    expect(await letters.claim(id, 9)).toEqual({ granted: false, why: 'gone' })
    expect(await letters.put([messageLetter('m-1')])).toEqual([false])
    expect(await all(letters)).toMatchObject([{ state: 'open', redrives: 1 }])
    await letters.put([letterOf('r-1', 0), letterOf('r-1', 1)])
    expect(idsOf(await all(letters))).toEqual(['r-1.1', id])
    // It comes again before whoever sent it back has noted that.
    const second = await letters.claim(id, 9)
    await letters.put([messageLetter('m-1')])
    await letters.redriven(id, 'work.job', second.granted ? second.puts : 0)
    expect(await all(letters, { reason: 'schema' })).toMatchObject([{ state: 'open', redrives: 2 }])
    await letters.put([letterOf('r-1', 2), letterOf('r-1', 3)])
    expect(idsOf(await all(letters))).toEqual(['r-1.3', id])
  })

  test('the letter of a redriven task goes on counting', async () => {
    const letters = await open()
    await letters.link('r-2', [
      { seq: 0, letter: 'r-1.7', redrives: 2 },
      { seq: 1, letter: 'r-1.8', redrives: 1 },
    ])
    await letters.link('r-3', [])
    await letters.put([letterOf('r-2', 0), letterOf('r-2', 2), letterOf('r-3', 0)])
    const [linked, ...others] = await letters.get(['r-2.0', 'r-2.2', 'r-3.0'])
    expect(linked).toMatchObject({ redrives: 2, redriveOf: 'r-1.7' })
    expect(others.map((letter) => letter?.redrives)).toEqual([0, 0])
    expect(others.map((letter) => letter?.redriveOf)).toEqual([undefined, undefined])
    expect(await letters.claim('r-2.0', 3)).toMatchObject({ redrives: 3 })
    expect(await letters.claim('r-2.0', 3)).toMatchObject({ granted: false, why: 'often' })
  })
}
