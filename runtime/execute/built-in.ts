/** The built-in handlers: for drills, demonstrations and measurements. */
import { z } from 'zod'
import { defineTask, type TaskDefinition } from '../../actors/kind.ts'

const noop = defineTask({
  kind: 'noop',
  input: z.strictObject({}),
  run() {},
})

const sleep = defineTask({
  kind: 'sleep',
  input: z.strictObject({ ms: z.int().min(0).max(86_400_000) }),
  run({ ms }, { signal }) {
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, ms)
      signal.addEventListener('abort', () => {
        clearTimeout(timer)
        reject(signal.reason)
      })
    })
  },
})

const fail = defineTask({
  kind: 'fail',
  input: z.strictObject({
    message: z.string().optional(),
    /** Fail this often, then be ok; without it, fail for ever. */
    times: z.int().min(0).optional(),
  }),
  run({ message, times }, { attempt }) {
    if (times === undefined || attempt <= times) {
      throw new Error(message ?? `failed on purpose, attempt ${attempt}`)
    }
  },
})

export const builtInHandlers: readonly TaskDefinition[] = [noop, sleep, fail]
