import { describe, expect, test } from 'bun:test'
import { Blame } from '../../runtime/telemetry/blame.ts'

function blameOf() {
  const laid: [string, number][] = []
  const time = { ms: 1000 }
  const blame = new Blame(
    (kind, ms) => laid.push([kind, ms]),
    () => time.ms,
  )
  return { blame, laid, time }
}

describe('a block of the event loop', () => {
  test('is laid to the kind that was seen to hold it, once', () => {
    const { blame, laid, time } = blameOf()
    blame.taken('work.parse')
    blame.held('parse', 300)
    time.ms += 15
    blame.blocked(290)
    expect(laid).toEqual([['parse', 300]])
  })

  test('that nobody was seen to cause is laid to what alone was at hand, as a guess', () => {
    const { blame, laid } = blameOf()
    blame.taken('work.parse')
    blame.taken('work.parse')
    blame.released('work.parse')
    blame.blocked(80)
    expect(laid).toEqual([['parse?', 80]])
  })

  test('is nobody`s when there was nothing, or more than one kind, at hand', () => {
    const { blame, laid } = blameOf()
    blame.blocked(60)
    blame.taken('work.parse')
    blame.taken('work.fetch')
    blame.blocked(70)
    blame.released('work.fetch')
    blame.released('work.parse')
    blame.blocked(80)
    expect(laid).toEqual([
      ['unknown', 60],
      ['unknown', 70],
      ['unknown', 80],
    ])
  })

  test('long after another one is one of its own', () => {
    const { blame, laid, time } = blameOf()
    blame.held('parse', 100)
    time.ms += 1000
    blame.blocked(60)
    expect(laid.map(([kind]) => kind)).toEqual(['parse', 'unknown'])
  })
})
