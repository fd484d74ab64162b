/** What every implementation of the accounting port must do: runs, their intake and notices. */
import { beforeEach, expect, test } from 'bun:test'
import type { Envelope } from '../../actors/envelope.ts'
import type { Admission } from '../../actors/ports.ts'
import type { Accounting, Chunk, OpenRun, RunNotice, Settlement } from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import type { Outcome } from '../../machines/outcome.ts'
import { eventually } from '../kit/eventually.ts'

export interface Books {
  accounting: Accounting
  admission: Admission
}

/** Opens books with nothing in them, whose clock says what `now` says. */
export type OpenBooks = (now: () => number) => Promise<Books>

export const mailbox = 'work.probe'

export function runOf(id: string, more: Partial<OpenRun> = {}): OpenRun {
  return { id, createdAt: 1000, driver: 'host/1', ...more }
}

/** `tasks` more tasks on `tasks` more lines. */
export function chunkOf(after: number, tasks: number, more: Partial<Chunk> = {}): Chunk {
  const end = after + tasks
  return { afterLine: after, lines: end, accepted: end, rejected: [], spool: [], ...more }
}

export function settlementOf(
  run: string,
  id: string,
  seqs: Settlement['seqs'],
  outcomes: Outcome | readonly Outcome[],
): Settlement {
  const count = seqs.reduce((sum, [, many]) => sum + many, 0)
  const each = typeof outcomes === 'string' ? Array<Outcome>(count).fill(outcomes) : outcomes
  return { run, id, mailbox, seqs, outcomes: each }
}

export function envelopeOf(run: string, first: number, count: number): Envelope {
  return {
    v: 1,
    run,
    mailbox,
    kind: 'probe',
    priority: 'normal',
    attempt: 1,
    readyAt: 0,
    seqs: [[first, count]],
    tasks: Array.from({ length: count }, (_, index) => ({ id: `t-${first + index}` })),
  }
}

const rejectionsOf = (first: number, count: number): Rejection[] =>
  Array.from({ length: count }, (_, index) => ({
    line: first + index,
    path: 'input',
    message: 'expected an object, got "ü"\nand more',
  }))

export function accountingConformance(open: OpenBooks): void {
  let accounting: Accounting
  let now = 5000
  beforeEach(async () => {
    now = 5000
    accounting = (await open(() => now)).accounting
  })

  test('a new run is empty and says what it was opened with', async () => {
    const labels = { check: 'kernel' }
    const told = { reason: 'why', parent: 'r-0', labels }
    const { progress, resumed } = await accounting.open(runOf('r-1', { ...told, content: 'abc' }))
    expect(resumed).toBe(false)
    const { counts, ...run } = progress.run
    expect(run).toEqual({
      id: 'r-1',
      state: 'accepting',
      total: 0,
      rejectedCount: 0,
      rejected: [],
      createdAt: 1000,
      ...told,
    })
    expect(Object.values(counts)).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
    const { run: _, ...rest } = progress
    expect(rest).toEqual({
      lines: 0,
      accepted: 0,
      spooled: 0,
      parked: 0,
      closed: false,
      driver: 'host/1',
      content: 'abc',
    })
    expect(await accounting.get('r-1')).toEqual(progress)
    expect(await accounting.get('r-none')).toBeUndefined()
  })

  test('an unfinished run of the same content is resumed, a finished one is run anew', async () => {
    await accounting.open(runOf('r-1', { content: 'same' }))
    await accounting.commit('r-1', chunkOf(0, 2))
    const again = await accounting.open(runOf('r-2', { content: 'same', driver: 'host/2' }))
    expect(again.resumed).toBe(true)
    expect(again.progress).toMatchObject({ run: { id: 'r-1' }, lines: 2, driver: 'host/1' })
    const other = await accounting.open(runOf('r-3', { content: 'other' }))
    expect([other.resumed, other.progress.run.id]).toEqual([false, 'r-3'])
    for (const id of ['r-4', 'r-5']) {
      expect((await accounting.open(runOf(id))).progress.run.id).toBe(id)
    }
    const settlement = settlementOf('r-1', 's', [[0, 2]], 'ok')
    await accounting.close('r-1')
    await accounting.settle([settlement])
    await accounting.stored([settlement])
    const anew = await accounting.open(runOf('r-6', { content: 'same' }))
    expect([anew.resumed, anew.progress.run.id]).toEqual([false, 'r-6'])
    const resumed = await accounting.open(runOf('r-7', { content: 'same' }))
    expect([resumed.resumed, resumed.progress.run.id]).toEqual([true, 'r-6'])
  })

  test('two that open the same content at once get the same run', async () => {
    const opened = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        accounting.open(runOf(`r-${index}`, { content: 'same' })),
      ),
    )
    expect(new Set(opened.map(({ progress }) => progress.run.id)).size).toBe(1)
    expect(opened.filter(({ resumed }) => !resumed).length).toBe(1)
    expect(await accounting.unfinished()).toHaveLength(1)
  })

  test('a chunk moves the run on, and only from the line it belongs to', async () => {
    await accounting.open(runOf('r-1'))
    const spool = [envelopeOf('r-1', 0, 2)]
    await accounting.commit('r-1', chunkOf(0, 2, { lines: 4, rejected: rejectionsOf(3, 1), spool }))
    const before = await accounting.get('r-1')
    expect(before).toMatchObject({ lines: 4, accepted: 2, spooled: 2, run: { total: 2 } })
    for (const afterLine of [0, 3, 5]) {
      const late = chunkOf(0, 9, { afterLine, rejected: rejectionsOf(1, 2), spool })
      const refused = await accounting.commit('r-1', late).catch((error: unknown) => error)
      expect(refused).toMatchObject({ name: 'ConflictError', code: 'RUN_FED_ELSEWHERE' })
    }
    expect(await accounting.get('r-1')).toEqual(before)
    expect((await accounting.peekSpool('r-1', 10)).envelopes).toEqual(spool)
    await accounting.commit('r-1', chunkOf(0, 5, { afterLine: 4, lines: 7 }))
    expect(await accounting.get('r-1')).toMatchObject({ lines: 7, accepted: 5, spooled: 2 })
  })

  test('of two sources that feed one run at once, one is told', async () => {
    await accounting.open(runOf('r-1'))
    const fed = await Promise.allSettled([
      accounting.commit('r-1', chunkOf(0, 3)),
      accounting.commit('r-1', chunkOf(0, 4)),
    ])
    expect(fed.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  })

  test('the first thousand rejected lines are kept, all are counted', async () => {
    await accounting.open(runOf('r-1'))
    let line = 0
    for (const count of [600, 399, 0, 2, 1500]) {
      const rejected = rejectionsOf(line + 1, count)
      await accounting.commit('r-1', { ...chunkOf(line, count, { rejected }), accepted: 0 })
      line += count
    }
    const run = (await accounting.get('r-1'))?.run
    expect(run?.rejectedCount).toBe(2501)
    expect(run?.rejected).toEqual(rejectionsOf(1, 1000))
    expect(run?.total).toBe(0)
  })

  test('the spool keeps its order, and what is taken off is gone', async () => {
    await accounting.open(runOf('r-1'))
    const envelopes = [0, 10, 20, 30].map((first) => envelopeOf('r-1', first, 10))
    await accounting.commit('r-1', chunkOf(0, 20, { spool: envelopes.slice(0, 2) }))
    await accounting.commit('r-1', chunkOf(20, 20, { spool: envelopes.slice(2) }))
    expect((await accounting.peekSpool('r-1', 3)).envelopes).toEqual(envelopes.slice(0, 3))
    await accounting.dropSpool('r-1', { mark: '', envelopes: 3, tasks: 30 })
    expect((await accounting.peekSpool('r-1', 3)).envelopes).toEqual(envelopes.slice(3))
    expect((await accounting.get('r-1'))?.spooled).toBe(10)
    await accounting.dropSpool('r-1', { mark: '', envelopes: 1, tasks: 10 })
    expect((await accounting.peekSpool('r-1', 3)).envelopes).toEqual([])
    expect((await accounting.get('r-1'))?.spooled).toBe(0)
  })

  test('of a run that nobody opened there is nothing, and nothing comes of it', async () => {
    const tries = {
      commit: () => accounting.commit('r-none', chunkOf(0, 1)),
      close: () => accounting.close('r-none'),
      drop: () => accounting.dropSpool('r-none', { mark: '', envelopes: 1, tasks: 1 }),
    }
    for (const [name, attempt] of Object.entries(tries)) {
      const outcome = await attempt().catch((error: unknown) => error)
      expect({ name, outcome }).toMatchObject({ name, outcome: { code: 'NOT_FOUND' } })
    }
    expect((await accounting.peekSpool('r-none', 1)).envelopes).toEqual([])
    expect(await accounting.seqsOf('r-none', ['a'])).toStrictEqual([undefined])
    expect(await accounting.adopt('r-none', 'host/2')).toBeUndefined()
    expect(await accounting.pending('r-none', [[0, 2]])).toEqual([true, true])
    expect(await accounting.begin('r-none', 0, 1, 'a')).toBe('a')
    const settlement = settlementOf('r-none', 's', [[0, 2]], 'ok')
    const nothing = { fresh: 0, outcomes: [undefined, undefined] }
    expect(await accounting.settle([settlement])).toStrictEqual([nothing])
    await accounting.stored([settlement])
    expect(await accounting.get('r-none')).toBeUndefined()
    expect(await accounting.list({ limit: 10 })).toEqual([])
    expect(await accounting.unfinished()).toEqual([])
  })

  test('an attempt at a task is begun by whoever asks first, until it has an outcome', async () => {
    await accounting.open(runOf('r-1'))
    await accounting.commit('r-1', chunkOf(0, 3))
    expect(await accounting.begin('r-1', 1, 1, 'a')).toBe('a')
    expect(await accounting.begin('r-1', 1, 1, 'b')).toBe('a')
    expect(await accounting.begin('r-1', 1, 1, 'a')).toBe('a')
    // The next attempt, and the next task, are for others.
    expect(await accounting.begin('r-1', 1, 2, 'b')).toBe('b')
    expect(await accounting.begin('r-1', 2, 1, 'b')).toBe('b')
    await accounting.settle([settlementOf('r-1', 's', [[1, 1]], 'ok')])
    expect(await accounting.begin('r-1', 1, 1, 'a')).toBeUndefined()
    expect(await accounting.begin('r-1', 1, 3, 'c')).toBeUndefined()
    expect(await accounting.begin('r-1', 0, 1, 'c')).toBe('c')
    await accounting.settle([settlementOf('r-1', 't', [[0, 1]], 'ok')])
    await accounting.settle([settlementOf('r-1', 'u', [[2, 1]], 'ok')])
    const settled = ['s', 't', 'u'].map((id) => ({ run: 'r-1', id }))
    await accounting.stored(settled)
    await accounting.close('r-1')
    expect((await accounting.get('r-1'))?.run.state).toBe('completed')
    expect(await accounting.begin('r-1', 2, 2, 'c')).toBeUndefined()
  })

  test('ids are found by name, and a later claim replaces an earlier one', async () => {
    await accounting.open(runOf('r-1'))
    await accounting.claimIds('r-1', [])
    await accounting.claimIds('r-1', [
      ['a', 0],
      ['b', 1],
    ])
    await accounting.claimIds('r-1', [['a', 7]])
    expect(await accounting.seqsOf('r-1', ['b', 'nobody', 'a'])).toStrictEqual([1, undefined, 7])
    expect(await accounting.seqsOf('r-1', [])).toEqual([])
  })

  test('who adopts a run drives it', async () => {
    await accounting.open(runOf('r-1'))
    await accounting.commit('r-1', chunkOf(0, 3))
    expect(await accounting.adopt('r-1', 'other/2')).toMatchObject({ driver: 'other/2', lines: 3 })
    expect((await accounting.get('r-1'))?.driver).toBe('other/2')
  })

  test('runs are listed newest first, page by page', async () => {
    const ids = Array.from({ length: 25 }, (_, index) => `r-${String(index).padStart(3, '0')}`)
    for (const id of ids.toSorted((a, b) => a.localeCompare(b) * (a < 'r-012' ? 1 : -1))) {
      await accounting.open(runOf(id))
    }
    const pages: string[][] = []
    for (let after: string | undefined; ; ) {
      const page = await accounting.list({ limit: 10, ...(after === undefined ? {} : { after }) })
      if (page.length === 0) break
      pages.push(page.map(({ id }) => id))
      after = page.at(-1)?.id
    }
    expect(pages.map(({ length }) => length)).toEqual([10, 10, 5])
    expect(pages.flat()).toEqual(ids.toReversed())
    expect((await accounting.list({ limit: 1 }))[0]).toEqual((await accounting.get('r-024'))?.run)
  })

  test('watchers hear of room, of a closed source and of the end', async () => {
    const notices: RunNotice[] = []
    const unwatch = await accounting.watch((notice) => {
      if (notice !== undefined) notices.push(notice)
    })
    const settlement = settlementOf('r-1', 's', [[0, 2]], 'ok')
    await accounting.open(runOf('r-1'))
    await accounting.commit('r-1', chunkOf(0, 2))
    await accounting.close('r-1')
    await accounting.settle([settlement])
    // Nothing fresh, nothing to tell.
    await accounting.settle([settlement])
    await accounting.stored([settlement])
    await eventually(() => expect(notices.at(-1)?.state).toBe('completed'))
    expect(notices).toEqual([
      { run: 'r-1', done: 0, state: 'running' },
      { run: 'r-1', done: 2, state: 'running', mailbox },
      { run: 'r-1', done: 2, state: 'completed' },
    ])
    const heard: unknown[] = []
    const unwatchOther = await accounting.watch((notice) => heard.push(notice))
    await unwatch()
    await accounting.open(runOf('r-2'))
    await accounting.close('r-2')
    await eventually(() => expect(heard).toHaveLength(1))
    await unwatchOther()
    expect(notices).toHaveLength(3)
  })
}
