import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, property, string, stringMatching } from 'fast-check'
import { flawOfPattern, flawOfTopic, matches } from '../../machines/topic.ts'

const word = stringMatching(/^[A-Za-z0-9_-]{1,6}$/)
const words = (maxLength = 6) => array(word, { minLength: 1, maxLength })
const few = array(constantFrom('a', 'b'), { minLength: 1, maxLength: 5 })

describe('a topic', () => {
  test('is made of segments of letters, digits, _ and -', () => {
    assert(
      property(words(16), (segments) => {
        const topic = ['t', ...segments].slice(0, 16).join('.')
        expect(flawOfTopic(topic)).toBeUndefined()
        expect(flawOfPattern(topic)).toBeUndefined()
      }),
    )
  })

  test.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'a b',
    'ä',
    'a.*',
    '>',
    'a/b',
    'a:b',
    7,
    null,
    undefined,
  ])('is not %p', (topic) => expect(flawOfTopic(topic)).toStartWith('expected '))

  test('may not be longer than its limits', () => {
    expect(flawOfTopic('a'.repeat(512))).toBeUndefined()
    expect(flawOfTopic('a'.repeat(513))).toContain('512 characters')
    expect(flawOfTopic(Array(16).fill('a').join('.'))).toBeUndefined()
    expect(flawOfTopic(Array(17).fill('a').join('.'))).toContain('16 segments')
    expect(flawOfPattern('a'.repeat(257))).toContain('256 characters')
  })

  test.each(['system', 'system.x', 'debug.a.b'])('%s is reserved', (topic) => {
    expect(flawOfTopic(topic)).toContain('reserved')
  })
})

describe('a pattern', () => {
  test.each(['*', '>', 'events.*', '*.x.*', 'control.>', '*.>', 'system.>'])('may be %s', (each) =>
    expect(flawOfPattern(each)).toBeUndefined(),
  )

  test.each(['>.a', 'a.>.b', 'a*', 'a.b>', '**', '', 'a..*', '#', '+'])('may not be %p', (each) =>
    expect(flawOfPattern(each)).toStartWith('expected '),
  )

  test('without stars stands for itself alone', () => {
    assert(
      property(few, few, (one, other) => {
        const [pattern, topic] = [one.join('.'), other.join('.')]
        expect(matches(pattern, topic)).toBe(pattern === topic)
      }),
    )
  })

  test('has any one segment for a star, wherever it is', () => {
    assert(
      property(words(), string({ maxLength: 3 }), (segments, seed) => {
        const at = seed.length % segments.length
        const pattern = segments.with(at, '*').join('.')
        expect(matches(pattern, segments.join('.'))).toBe(true)
        expect(matches(pattern, [...segments, 'more'].join('.'))).toBe(false)
        expect(matches(pattern, segments.slice(0, -1).join('.') || 'none')).toBe(
          segments.length === 1,
        )
      }),
    )
  })

  // Seeds X-25: one or more, not zero or more.
  test('that ends in > stands for one segment more, or several, and not for none', () => {
    assert(
      property(words(), words(), (head, tail) => {
        const pattern = [...head, '>'].join('.')
        expect(matches(pattern, [...head, ...tail].join('.'))).toBe(true)
        expect(matches(pattern, head.join('.'))).toBe(false)
      }),
    )
  })

  test('says the same as a regular expression made of it', () => {
    const pieces = array(constantFrom('a', 'b', '*'), { minLength: 1, maxLength: 4 })
    assert(
      property(pieces, constantFrom(true, false), few, (head, isOpen, topic) => {
        const pattern = [...head, ...(isOpen ? ['>'] : [])].join('.')
        const expression = pattern
          .replaceAll('.', '\\.')
          .replaceAll('*', '[^.]+')
          .replaceAll('>', '.+')
        const said = new RegExp(`^${expression}$`).test(topic.join('.'))
        expect(matches(pattern, topic.join('.'))).toBe(said)
      }),
    )
  })
})
