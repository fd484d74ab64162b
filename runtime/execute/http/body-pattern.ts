/**
 * What `expect.bodyMatches` says of a body. Patterns come from outside, and bodies too, so both by
 * RE2, in time that grows with the body and no faster: the built-in expressions took 24 s for
 * `\\s+$` on 100,000 blanks, on the event loop. Loaded with the first pattern.
 */
import { createRequire } from 'node:module'
import type { RE2JS } from 're2js'
import { describeError } from '../../../actors/errors.ts'
import { httpInputBy, short } from '../../../actors/http-input.ts'
import { isPlainHttpInput } from '../../../actors/quick-http-input.ts'

/** Those of late: a run has the same one in many tasks. */
const known = new Map<string, RE2JS>()
const knownMax = 16
const sourceMax = 4096
// Not by `import()`: what is wrong with a line is told before the next one is read.
const load = createRequire(import.meta.url)

export const httpInput = httpInputBy((source) => {
  if (source.length > sourceMax) {
    return `expected a regular expression of at most ${sourceMax} characters, got ${source.length}`
  }
  try {
    compiled(source)
    return undefined
  } catch (error) {
    const { message } = describeError(error)
    return `expected a regular expression as RE2 has them, got ${short(source)}: ${message}`
  }
})

/** Right without a doubt; of anything else, ask `httpInput`. */
export const isPlainInput = (input: unknown) =>
  isPlainHttpInput(input, (source) => known.has(source))

export function bodyMatches(source: string, text: string): boolean {
  return compiled(source).test(text)
}

function compiled(source: string): RE2JS {
  let pattern = known.get(source)
  if (pattern === undefined) {
    const engine = load('re2js') as typeof import('re2js')
    pattern = engine.RE2JS.compile(source)
    if (known.size >= knownMax) known.clear()
    known.set(source, pattern)
  }
  return pattern
}
