import { expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { nearest } from '../../config/nearest.ts'

const verbs = [
  'start',
  'run',
  'submit',
  'watch',
  'results',
  'retry',
  'cancel',
  'state',
  'deadletters',
]

test.each([
  ['a letter left out', 'resuls', 'results'],
  ['a letter too many', 'watcch', 'watch'],
  ['a wrong letter', 'cansel', 'cancel'],
  ['two letters swapped', 'strat', 'start'],
  ['two letters of a short word swapped', 'rnu', 'run'],
  ['other case and separators', 'DEAD-LETTERS', 'deadletters'],
  ['a beginning', 'dead', 'deadletters'],
  ['nothing wrong', 'retry', 'retry'],
])('%s is understood', (_mistake, word, meant) => {
  expect(nearest(word, verbs)).toBe(meant)
})

test('nothing is suggested for what is not near', () => {
  for (const word of ['', '-', 'x', 'zz', 'xyz', 'frobnicate', 'kubectl']) {
    expect([word, nearest(word, verbs)]).toEqual([word, undefined])
  }
})

test('fewer mistakes go before an earlier place in the list', () => {
  expect(nearest('queueMx', ['queueMin', 'queueMax'])).toBe('queueMax')
})

test('one swap in a word of three letters or more is always understood', () => {
  const word = fc.stringMatching(/^[a-z]{3,12}$/)
  fc.assert(
    fc.property(word, fc.nat(), (text, at) => {
      const index = at % (text.length - 1)
      const pair = `${text[index + 1]}${text[index]}`
      const swapped = `${text.slice(0, index)}${pair}${text.slice(index + 2)}`
      expect(nearest(swapped, [text])).toBe(text)
    }),
  )
})
