/** The quick look at the input of a command against its schema. */
import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { execInput } from '../../actors/exec-input.ts'
import { isPlainExecInput } from '../../actors/quick-exec-input.ts'
import { testSeed } from '../kit/random.ts'

const word = fc.oneof(fc.constantFrom('true', '', 'a\0b', '-x', 'é\ud800'), fc.string())
const anything = fc.oneof(word, fc.constantFrom<unknown>(null, true, 0, 1.5, {}, [], [['true']]))
const argv = fc.array(fc.oneof({ weight: 8, arbitrary: word }, anything), { maxLength: 4 })
const names = ['argv', 'stdin', 'cwd', 'env', 'okExitCodes', 'limits', 'stallMs', 'x', '__proto__']
const inputs = fc
  .tuple(
    fc.array(fc.tuple(fc.constantFrom(...names), fc.oneof(argv, anything)), { maxLength: 3 }),
    fc.option(argv),
  )
  // As JSON.parse makes them: also with a field of their own called __proto__.
  .map(([entries, words]): unknown => {
    const said = entries.map(([name, value]) => `"${name}":${JSON.stringify(value)}`)
    if (words !== null) said.push(`"argv":${JSON.stringify(words)}`)
    return JSON.parse(`{${said.join(',')}}`)
  })

describe('the quick look at the input of a command', () => {
  test('takes nothing that the schema does not take', () => {
    let taken = 0
    fc.assert(
      fc.property(fc.oneof(inputs, anything), (input) => {
        if (!isPlainExecInput(input)) return
        taken += 1
        const read = execInput.safeParse(input)
        expect(read.success).toBe(true)
        expect(read.data as unknown).toEqual(input)
      }),
      { numRuns: 20_000, seed: testSeed() },
    )
    expect(taken).toBeGreaterThan(1000)
  })

  test('takes what most commands say', () => {
    expect(isPlainExecInput({ argv: ['true'] })).toBe(true)
    expect(isPlainExecInput({ argv: ['grep', ''], stdin: 'a\nb' })).toBe(true)
  })

  test('leaves a hole among the words to the schema', () => {
    const words = ['a']
    words[2] = 'c'
    expect(isPlainExecInput({ argv: words })).toBe(false)
  })
})
