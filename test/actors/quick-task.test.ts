/** The quick look at a task line against its schema. */
import { describe, expect, test } from 'bun:test'
import {
  array,
  assert,
  constant,
  constantFrom,
  dictionary,
  double,
  integer,
  oneof,
  property,
  record,
  string,
  tuple,
} from 'fast-check'
import { quickTask } from '../../actors/quick-task.ts'
import { taskLine } from '../../actors/task.ts'

/** What fields are made of: nearly right, right and wrong. */
const anything = oneof(
  string({ maxLength: 5 }),
  string({ minLength: 510, maxLength: 515 }),
  constantFrom('critical', 'high', 'normal', 'low', 'exec', ''),
  integer({ min: -1, max: 101 }),
  constantFrom(86_400_000, 86_400_001, 31_536_000_000, 31_536_000_001, 1.5, Number.NaN),
  double(),
  constant(null),
  constantFrom(true, [], {}, { a: 1 }),
)
const fields = [...Object.keys(taskLine.shape), 'unknown', '__proto__', 'toString']
const lines = array(tuple(constantFrom(...fields), anything), { maxLength: 6 }).map((entries) =>
  // As JSON.parse makes them: also with a field of their own called __proto__.
  JSON.parse(`{${entries.map(([field, value]) => `${textOf(field)}:${textOf(value)}`).join(',')}}`),
)

const textOf = (value: unknown) => JSON.stringify(value)

describe('the quick look at a line', () => {
  test('takes nothing that the schema does not take, and reads it in the same way', () => {
    assert(
      property(lines, (line: object) => {
        const quick = quickTask(line)
        if (quick === undefined) return
        const read = taskLine.safeParse(line)
        expect(read.success).toBe(true)
        const { kind, priority = 'normal', ...task } = read.data ?? { kind: '' }
        expect(quick as unknown).toEqual({ kind, priority, task })
      }),
      { numRuns: 20_000, seed: 1 },
    )
  })

  test('takes what most lines say', () => {
    const inputs = dictionary(string(), anything)
    const ordinary = record(
      {
        kind: string({ minLength: 1, maxLength: 20 }),
        input: inputs,
        id: string({ minLength: 1, maxLength: 20 }),
        key: string({ minLength: 1, maxLength: 20 }),
        priority: constantFrom('critical', 'high', 'normal', 'low'),
        timeoutMs: integer({ min: 1, max: 86_400_000 }),
        attempts: integer({ min: 1, max: 100 }),
        delayMs: integer({ min: 0, max: 31_536_000_000 }),
      },
      { requiredKeys: ['kind'] },
    )
    assert(
      property(ordinary, (line) => quickTask(line) !== undefined),
      { seed: 1 },
    )
  })
})
