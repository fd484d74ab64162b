import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import picocolors from 'picocolors'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { noCounts, type Outcome, outcomes } from '../../machines/outcome.ts'
import { Fold, recap, renderGroups } from '../../runtime/cli/report.ts'

const colors = picocolors.createColors(false)

function result(seq: number, outcome: Outcome, more: Partial<ResultLine> = {}): ResultLine {
  return {
    run: 'r-00000001',
    seq,
    kind: 'exec',
    outcome,
    attempt: 1,
    node: 'n1',
    worker: 'w1',
    startedAt: 0,
    durationMs: 1,
    queueMs: 0,
    ...more,
  }
}

function command(exitCode: number | null, stdout: string, stderr = '', durationMs = 1) {
  return { exitCode, signal: null, stdout, stderr, durationMs }
}

function foldOf(lines: ResultLine[], groupsMax?: number): Fold {
  const fold = new Fold(groupsMax)
  for (const line of lines) fold.add(line)
  return fold
}

function linesOf(fold: Fold, groupsMax = 100): string[] {
  return renderGroups(fold.groups(), { run: 'r-00000001', colors, groupsMax })
}

const anyResult = fc
  .record({
    outcome: fc.constantFrom(...outcomes),
    exitCode: fc.integer({ min: 0, max: 2 }),
    stdout: fc.constantFrom('', 'a\n', 'b\nc\n'),
    stderr: fc.constantFrom('', 'oops'),
  })
  .map(({ outcome, exitCode, stdout, stderr }) =>
    result(0, outcome, { output: command(exitCode, stdout, stderr) }),
  )
const anyRun = fc
  .array(anyResult, { maxLength: 200 })
  .map((lines) => lines.map((line, seq) => ({ ...line, seq })))

describe('what differs without meaning', () => {
  const groupsOf = (how: 'exact' | 'similar', texts: readonly (readonly [string, string])[]) => {
    const fold = new Fold(undefined, how)
    for (const [seq, [target, stdout]] of texts.entries()) {
      fold.add(result(seq, 'ok', { target, output: command(0, stdout) }))
    }
    return fold.groups().length
  }

  test('the name of the host does not part results', () => {
    expect(
      groupsOf('exact', [
        ['web1', 'web1: up'],
        ['web2', 'web2: up'],
      ]),
    ).toBe(1)
    // Only as a word of its own.
    expect(
      groupsOf('exact', [
        ['web1', 'web10: up'],
        ['web2', 'web20: up'],
      ]),
    ).toBe(2)
  })

  test('numbers, times, ids and addresses part exact results, and no similar ones', () => {
    const said = [
      ['a', 'disk 81% of 4.5 GB at 2026-11-21T10:00:00Z, 0xdeadbeef, 10.0.0.1, 9f86d081884c7d65'],
      ['b', 'disk 9% of 12 GB at 2025-01-02 03:04:05, 0x1, 192.168.1.200, 2c26b46b68ffc68f'],
    ] as const
    expect(groupsOf('exact', said)).toBe(2)
    expect(groupsOf('similar', said)).toBe(1)
  })

  test('words and exit codes part similar results as well', () => {
    expect(
      groupsOf('similar', [
        ['a', 'disk 81%'],
        ['b', 'memory 81%'],
      ]),
    ).toBe(2)
    const fold = new Fold(undefined, 'similar')
    fold.add(result(0, 'failed', { output: command(1, 'no') }))
    fold.add(result(1, 'failed', { output: command(2, 'no') }))
    expect(fold.groups()).toHaveLength(2)
  })
})

describe('fold', () => {
  test('every task is in exactly one group, however few groups there may be', () => {
    fc.assert(
      fc.property(anyRun, fc.integer({ min: 1, max: 5 }), (lines, groupsMax) => {
        const groups = foldOf(lines, groupsMax).groups()
        expect(groups.reduce((sum, group) => sum + group.count, 0)).toBe(lines.length)
        expect(groups.length).toBeLessThanOrEqual(groupsMax + outcomes.length)
        for (const outcome of outcomes) {
          const counted = groups
            .filter((group) => group.outcome === outcome)
            .reduce((sum, group) => sum + group.count, 0)
          expect(counted).toBe(lines.filter((line) => line.outcome === outcome).length)
        }
      }),
    )
  })

  test('two tasks share a group exactly when outcome, exit code and words are the same', () => {
    fc.assert(
      fc.property(anyResult, anyResult, (a, b) => {
        const together = foldOf([a, { ...b, seq: 1 }]).groups().length === 1
        const same = JSON.stringify([a.outcome, a.output]) === JSON.stringify([b.outcome, b.output])
        expect(together).toBe(same)
      }),
    )
  })

  test('the order of arrival changes no group', () => {
    fc.assert(
      fc.property(anyRun, (lines) => {
        const shape = (fold: Fold) =>
          fold
            .groups()
            .map((group) => JSON.stringify([group.outcome, group.count, group.detail, group.text]))
            .sort()
        expect(shape(foldOf(lines.toReversed()))).toEqual(shape(foldOf(lines)))
      }),
    )
  })

  test('nothing comes after the failures, and no smaller ok group before a bigger one', () => {
    fc.assert(
      fc.property(anyRun, (lines) => {
        const groups = foldOf(lines).groups()
        const firstFailed = groups.findIndex((group) => group.outcome === 'failed')
        if (firstFailed >= 0) {
          expect(groups.slice(firstFailed).every((group) => group.outcome === 'failed')).toBe(true)
        }
        const oks = groups.filter((group) => group.outcome === 'ok').map((group) => group.count)
        expect(oks).toEqual(oks.toSorted((a, b) => b - a))
      }),
    )
  })

  test('how long a command took does not keep it out of its group', () => {
    const lines = [
      result(0, 'ok', { output: command(0, 'same\n', '', 3) }),
      result(1, 'ok', { output: command(0, 'same\n', '', 4000), durationMs: 4000 }),
    ]
    expect(foldOf(lines).groups()).toHaveLength(1)
  })

  test('a task that says one line is one line of the report, with its id beside it', () => {
    const fold = foldOf([
      result(0, 'ok', { id: 'kernel-version', output: command(0, 'fact: Linux 6.1.0\n') }),
    ])
    expect(linesOf(fold)).toEqual(['ok         kernel-version  fact: Linux 6.1.0'])
  })

  test('a failed command shows its exit code, and several lines are indented below', () => {
    const fold = foldOf([result(3, 'failed', { output: command(2, 'one\ntwo\n', 'bad\n') })])
    expect(linesOf(fold)).toEqual([
      'failed     #3  exit 2',
      '    one',
      '    two',
      '    stderr: bad',
    ])
  })

  test('long output is cut with a hint where the rest is', () => {
    const stdout = Array.from({ length: 100 }, (_, index) => `line ${index}`).join('\n')
    const lines = linesOf(foldOf([result(7, 'ok', { output: command(0, stdout) })]))
    expect(lines.length).toBeLessThan(20)
    expect(lines.at(-1)).toContain('88 more lines: muster show r-00000001/7')
  })

  test('output cannot steer the terminal it is shown on', () => {
    const text = linesOf(foldOf([result(0, 'ok', { output: '\x1b]0;title\x07\x1b[2Jhello\r' })]))
    expect(text.join('')).not.toMatch(/\p{Cc}/u)
    expect(text.join('')).toContain('hello')
  })

  test('groups beyond the limit are counted, and failures are the last to go', () => {
    const lines = Array.from({ length: 30 }, (_, seq) => result(seq, 'ok', { output: `${seq}` }))
    lines.push(result(30, 'failed', { error: { code: 'X', message: 'it broke' } }))
    const shown = linesOf(foldOf(lines), 20)
    expect(shown[0]).toBe('11 more: muster results r-00000001')
    expect(shown.at(-1)).toContain('it broke')
    expect(shown).toHaveLength(21)
  })

  test('tasks whose results were not read are counted from the run', () => {
    const fold = foldOf([result(5, 'failed', { error: { code: 'X', message: 'no' } })])
    fold.complete({ ...noCounts(), ok: 999_999, failed: 1 })
    expect(linesOf(fold)).toEqual(['ok         999999 tasks', 'failed     #5            no'])
    expect(fold.isWhole).toBe(false)
  })
})

describe('recap', () => {
  const run: Run = {
    id: 'r-00000001',
    state: 'completed',
    total: 38,
    counts: { ...noCounts(), ok: 36, failed: 2 },
    rejectedCount: 0,
    rejected: [],
    createdAt: 0,
    durationMs: 1234,
  }

  test('the recap is the sum, the time and the number of groups', () => {
    expect(recap(run, 36)).toBe('r-00000001 38 = 36 ok + 2 failed  1.2 s  36 kinds of output')
  })

  test('what did not end as usual is in the recap', () => {
    expect(recap({ ...run, state: 'halted', rejectedCount: 1 }, undefined)).toBe(
      'r-00000001 38 = 36 ok + 2 failed  1 line rejected  halted  1.2 s',
    )
  })
})
