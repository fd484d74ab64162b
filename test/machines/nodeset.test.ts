import { describe, expect, test } from 'bun:test'
import { array, assert, constantFrom, integer, property, string, tuple } from 'fast-check'
import { expandNodeset, nodesetMax } from '../../machines/nodeset.ts'

const hostsOf = (text: string) => {
  const set = expandNodeset(text)
  if ('problem' in set) throw new Error(set.problem)
  return set.hosts
}
const problemOf = (text: string) => {
  const set = expandNodeset(text)
  return 'problem' in set ? set.problem : `no problem, but ${set.hosts.join(' ')}`
}

describe('a set of hosts', () => {
  test('is the names that are written, each once, in their order', () => {
    expect(hostsOf('db1')).toEqual(['db1'])
    expect(hostsOf('b,a, b')).toEqual(['b', 'a'])
    expect(hostsOf('root@db1,10.0.0.7')).toEqual(['root@db1', '10.0.0.7'])
  })

  test('has ranges of numbers, as wide as they are written', () => {
    expect(hostsOf('web[1-3]')).toEqual(['web1', 'web2', 'web3'])
    expect(hostsOf('web[008-011]')).toEqual(['web008', 'web009', 'web010', 'web011'])
    expect(hostsOf('web[001-040],db1').length).toBe(41)
    expect(hostsOf('n[1,3-4,9].lan')).toEqual(['n1.lan', 'n3.lan', 'n4.lan', 'n9.lan'])
    expect(hostsOf('r[1-2]n[01-02]')).toEqual(['r1n01', 'r1n02', 'r2n01', 'r2n02'])
  })

  test('that is not one says what is wrong', () => {
    expect(problemOf('')).toStartWith('expected a name between two commas')
    expect(problemOf('a,,b')).toStartWith('expected a name between two commas')
    expect(problemOf('web[1-3')).toBe('expected a "]" for each "[", got "web[1-3"')
    expect(problemOf('web1]')).toStartWith('expected a name without blanks and stray brackets')
    expect(problemOf('web[a-b]')).toStartWith('expected numbers and ranges')
    expect(problemOf('web[]')).toStartWith('expected numbers and ranges')
    expect(problemOf('web[3-1]')).toStartWith('expected a range that goes up')
    expect(problemOf('a b')).toStartWith('expected a name without blanks')
  })

  test('is bounded before it is made', () => {
    expect(problemOf('web[0-999999999999999]')).toStartWith(`expected at most ${nodesetMax}`)
    expect(problemOf('a[1-1000]b[1-1000]c[1-1000]')).toStartWith(`expected at most ${nodesetMax}`)
    expect(hostsOf(`n[1-${nodesetMax}]`).length).toBe(nodesetMax)
    expect(problemOf(`n[1-${nodesetMax}],one`)).toStartWith(`expected at most ${nodesetMax}`)
  })

  test('holds exactly the product of its ranges', () => {
    const bounds = tuple(integer({ min: 0, max: 200 }), integer({ min: 0, max: 20 }))
    const prefix = constantFrom('web', 'db-', 'x.y')
    assert(
      property(prefix, bounds, bounds, (name, [first, more], [other, further]) => {
        const width = 4
        const pad = (number: number) => String(number).padStart(width, '0')
        const found = hostsOf(
          `${name}[${pad(first)}-${pad(first + more)}]-r[${other}-${other + further}]`,
        )
        expect(found.length).toBe((more + 1) * (further + 1))
        expect(new Set(found).size).toBe(found.length)
        expect(found[0]).toBe(`${name}${pad(first)}-r${other}`)
        expect(found.at(-1)).toBe(`${name}${pad(first + more)}-r${other + further}`)
      }),
    )
  })

  test('of any text is names without blanks and brackets, or a problem', () => {
    const letters = constantFrom(...'ab01[]-, '.split(''))
    const texts = array(letters, { maxLength: 20 }).map((all) => all.join(''))
    assert(
      property(texts, string(), (text, other) => {
        for (const set of [expandNodeset(text), expandNodeset(other)]) {
          if ('problem' in set) expect(set.problem).not.toBe('')
          else for (const host of set.hosts) expect(host).toMatch(/^[^\s[\]]+$/)
        }
      }),
      { numRuns: 2000 },
    )
  })
})
