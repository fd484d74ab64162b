import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { z } from 'zod'
import type { Execution, Executor } from '../../actors/ports.ts'
import { hidden, hideSecrets, secret, veiled } from '../../actors/secret.ts'

const login = z.strictObject({
  user: z.string(),
  password: secret(z.string()),
  keys: z.array(secret(z.string())).optional(),
  headers: z.record(z.string(), secret(z.string())).optional(),
  auth: z
    .union([z.object({ pin: secret(z.number()) }), z.object({ none: z.literal(true) })])
    .optional(),
})

describe('what is marked is hidden', () => {
  test.each([
    ['a field', { user: 'u', password: 'p' }, { user: 'u', password: hidden }],
    ['elements', { keys: ['a', 'b'] }, { keys: [hidden, hidden] }],
    ['values of a record', { headers: { a: 'x' } }, { headers: { a: hidden } }],
    ['a way of a union', { auth: { pin: 1234 } }, { auth: { pin: hidden } }],
    ['not the other way', { auth: { none: true } }, { auth: { none: true } }],
    ['not what does not fit', 'password', 'password'],
  ])('%s', (_what, input, shown) => {
    expect(hideSecrets(login, input)).toEqual(shown)
  })

  test('beneath whatever is built around it', () => {
    const key = secret(z.string())
    for (const schema of [
      key.optional(),
      key.nullable(),
      key.default('x'),
      key.prefault('x'),
      key.catch('x'),
      key.readonly(),
      key.transform((text) => text.length),
      z.lazy(() => key),
      z.string().pipe(key).or(key),
      z.unknown().and(key),
    ]) {
      expect(hideSecrets(schema, 'sesame')).toBe(hidden)
    }
  })

  test('in a schema that contains itself', () => {
    const tree = z.object({
      key: secret(z.string()),
      get children() {
        return z.array(tree)
      },
    })
    const input = { key: 'a', children: [{ key: 'b', children: [] }] }
    const shown = { key: hidden, children: [{ key: hidden, children: [] }] }
    expect(hideSecrets(tree, input)).toEqual(shown)
  })
})

const context = {
  run: 'r-1',
  seq: 0,
  kind: 'login',
  attempt: 1,
  signal: new AbortController().signal,
}

function tell(run: (input: z.output<typeof login>) => Execution | Promise<Execution>) {
  const lines: string[] = []
  const log = (fields: object, message: string) =>
    void lines.push(JSON.stringify({ fields, message }))
  const executor = veiled(
    login,
    { debug: log, info: log, warn: log, error: log },
    (own): Executor => ({
      start: async () => undefined,
      stop: async () => undefined,
      run(task) {
        const input = task.input as z.output<typeof login>
        own.info(
          { input, error: new Error(`no ${input.password}`).message },
          `as ${input.password}`,
        )
        return run(input)
      },
    }),
  )
  return { executor, lines }
}

describe('of a task with secrets', () => {
  test('neither output, nor error, nor log shows them, and the handler has them', async () => {
    const ofAnySecret = fc.record({
      password: fc.string({ minLength: 4, unit: 'grapheme' }).filter((text) => /\S{4}/.test(text)),
      around: fc.string(),
      isLate: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(ofAnySecret, async ({ password, around, isLate }) => {
        let seen: string | undefined
        const { executor, lines } = tell((input) => {
          seen = input.password
          const text = `${around}${input.password}${around}`
          const output = { [text]: [text, { deep: input }], whole: input.password }
          const error = { code: 'X', message: text }
          const execution: Execution = { outcome: 'failed', output, error, stage: 'run' }
          return isLate ? Promise.resolve(execution) : execution
        })
        const input = { user: 'u', password }
        const execution = await executor.run({ input }, context)
        expect(seen).toBe(password)
        const inJson = JSON.stringify(password).slice(1, -1)
        const others = JSON.stringify([
          around,
          hidden,
          'u',
          'user',
          'deep',
          'whole',
          'password',
          'X',
        ])
        if (others.includes(inJson)) return
        expect(JSON.stringify(execution.output)).not.toContain(inJson)
        expect(execution.error?.message).not.toContain(password)
        expect(lines[0]).not.toContain(inJson)
      }),
      { seed: 9 },
    )
  })

  test('a short one is hidden where it stands alone', async () => {
    const { executor } = tell((input) => ({ outcome: 'ok', output: [input.password, 'abc'] }))
    const { output } = await executor.run({ input: { user: 'u', password: 'a' } }, context)
    expect(output).toEqual([hidden, 'abc'])
  })
})

test('a kind without secrets has the executor as it is', () => {
  const made: Executor = {
    start: async () => undefined,
    stop: async () => undefined,
    run: () => ({ outcome: 'ok' }),
  }
  const none = () => undefined
  const log = { debug: none, info: none, warn: none, error: none }
  expect(veiled(z.object({ a: z.string() }), log, () => made)).toBe(made)
})
