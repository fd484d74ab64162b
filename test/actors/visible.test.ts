import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { createActor, createMachine } from 'xstate'
import { visible } from '../../actors/visible.ts'

const shown = (value: unknown) => JSON.stringify(visible(value))

describe('what is visible of a value', () => {
  test('is what JSON can write of it', () => {
    const ref = createActor(createMachine({}))
    class Pool {
      readonly size = 2
    }
    const value = {
      at: 5,
      name: 'exec',
      lists: [new Set([1]), new Map([['a', true]]), new Uint8Array(3)],
      never: Number.POSITIVE_INFINITY,
      error: new TypeError('no such thing'),
      ref,
      pool: new Pool(),
      callback() {},
      absent: undefined,
    }
    expect(visible(value)).toEqual({
      at: 5,
      name: 'exec',
      lists: [[1], { a: true }, '[3 bytes]'],
      never: 'Infinity',
      error: 'TypeError: no such thing',
      ref: { xstate$$type: 1, id: ref.id },
      pool: '[Pool]',
      callback: '[function callback]',
    })
  })

  test('is no secret, wherever it stands', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('token', 'apiKey', 'PASSWORD', 'clientSecret', 'set-cookie', 'passwd'),
        fc.array(fc.constantFrom('a', 'b'), { maxLength: 4 }),
        (name, above) => {
          const inner: unknown = { [name]: { deep: 'hunter2' } }
          const value = above.reduce((below, key) => ({ [key]: [below] }), inner)
          expect(shown(value)).not.toContain('hunter2')
        },
      ),
    )
    const texts = ['redis://muster:hunter2@db:6379/1', 'login failed: password=hunter2']
    expect(shown(texts)).not.toContain('hunter2')
    expect(shown(new Error('cannot reach postgres://hunter2@db'))).not.toContain('hunter2')
  })

  test('is nothing of what people gave to their tasks', () => {
    const task = { kind: 'exec', input: { argv: ['curl', 'hunter2'] } }
    const value = { event: { tasks: [task], body: 'hunter2' }, output: { card: 'hunter2' } }
    expect(visible(value)).toEqual({
      event: { tasks: '[1 items]', body: '[7 characters]' },
      output: '[object]',
    })
    // How many there are is no secret.
    expect(visible({ tasks: 7 })).toEqual({ tasks: 7 })
  })

  test('ends where it begins anew', () => {
    const value: { inner?: unknown; list: unknown[] } = { list: [] }
    value.inner = value
    value.list.push(value, value)
    expect(visible(value)).toEqual({ inner: '[circular]', list: ['[circular]', '[circular]'] })
  })

  test('is small, however large the value is', () => {
    fc.assert(
      fc.property(fc.object({ maxDepth: 4, maxKeys: 30 }), fc.nat({ max: 3000 }), (one, count) => {
        const value = {
          one,
          many: Array.from({ length: count }, () => ({ text: 'x'.repeat(900) })),
        }
        expect(shown(value).length).toBeLessThan(500_000)
      }),
      { numRuns: 20 },
    )
    expect(visible(Array.from({ length: 80 }, () => 0))).toContain('[30 more]')
  })
})
