/** How the state of a node follows its health. */
import { describe, expect, test } from 'bun:test'
import {
  judge,
  marks,
  type SystemFacts,
  type SystemMarks,
  type SystemState,
} from '../../machines/system-rules.ts'

const policy = {
  worsenMs: 3000,
  mendMs: 10_000,
  settleMs: 2000,
  bootMs: 30_000,
  reflectApartMs: 300_000,
}
const well: SystemFacts = { ailments: [], health: 0.95, errors: 0, warnings: 0 }

function seen(over: Partial<SystemMarks> = {}): SystemMarks {
  return {
    policy,
    isUp: true,
    sinceAt: 0,
    isHeld: false,
    facts: well,
    illAt: undefined,
    wellAt: undefined,
    lowAt: undefined,
    reflectedAt: undefined,
    ...over,
  }
}

/**
 * Looks once a second, and tells each change it makes; the state that it is in goes on with it.
 * @param lateMs by which each look is late, in turns
 */
function play(
  state: SystemState,
  looks: readonly SystemFacts[],
  over: Partial<SystemMarks> = {},
  lateMs: readonly number[] = [0],
) {
  let is = state
  const now = seen(over)
  const moves: string[] = []
  for (const [second, facts] of looks.entries()) {
    const at = second * 1000 + (lateMs[second % lateMs.length] ?? 0)
    Object.assign(now, marks(now, facts, at))
    const verdict = judge(is, now, at)
    if (verdict === undefined) continue
    is = verdict.to
    moves.push(`${second} s: ${is}`)
    const begun = { sinceAt: at, illAt: undefined, wellAt: undefined, lowAt: undefined }
    Object.assign(now, begun, is === 'REFLECTIVE' ? { reflectedAt: at } : {})
  }
  return moves
}

const of = (health: number, count: number) =>
  Array.from({ length: count }, (): SystemFacts => ({ ...well, health }))

describe('low health', () => {
  test('that lasts makes a node reflect', () => {
    expect(play('OPERATIONAL', of(0.69, 5))).toEqual(['3 s: REFLECTIVE'])
  })

  test('lasts as long by looks that are a little early or late', () => {
    for (const lateMs of [
      [40, 0, 0, 1],
      [0, 40],
      [1, 0, 0, 0],
    ]) {
      expect(play('OPERATIONAL', of(0.69, 5), {}, lateMs)).toEqual(['3 s: REFLECTIVE'])
      expect(play('OPERATIONAL', of(0.69, 3), {}, lateMs)).toEqual([])
    }
  })

  test('that passes, or flaps, does nothing', () => {
    expect(play('OPERATIONAL', [...of(0.1, 3), ...of(0.95, 5)])).toEqual([])
    const flapping = Array.from({ length: 100 }, (_, second) => of(second % 3 === 0 ? 0.9 : 0.1, 1))
    expect(play('OPERATIONAL', flapping.flat())).toEqual([])
  })

  test('degrades a node that has reflected on it not long ago', () => {
    expect(play('OPERATIONAL', of(0.5, 5), { reflectedAt: -1000 })).toEqual(['3 s: DEGRADED'])
  })

  test('keeps RECOVERY from ending in OPERATIONAL', () => {
    expect(play('RECOVERY', of(0.5, 4))).toEqual(['2 s: DEGRADED'])
    expect(play('RECOVERY', of(0.7, 3))).toEqual(['2 s: OPERATIONAL'])
  })

  test('says what makes it low', () => {
    const facts = { ...well, health: 0.4237, because: 'event loop late by 2 s' }
    const verdict = judge('RECOVERY', seen({ facts }), 2000)
    expect(verdict).toEqual({ to: 'DEGRADED', reason: 'health is 0.42: event loop late by 2 s' })
  })
})

describe('a DEGRADED node', () => {
  test('is OPERATIONAL again when it has been well for long, and not in between', () => {
    const between = of(0.75, 30)
    expect(play('DEGRADED', between)).toEqual([])
    expect(play('DEGRADED', of(0.8, 12))).toEqual(['10 s: OPERATIONAL'])
    expect(play('DEGRADED', [...of(0.9, 9), ...of(0.75, 1), ...of(0.9, 9)])).toEqual([])
  })

  test('that nobody measures goes by its ailments alone', () => {
    const unmeasured = Array.from({ length: 12 }, () => ({ ...well, health: undefined }))
    expect(play('DEGRADED', unmeasured)).toEqual(['10 s: OPERATIONAL'])
  })
})
