/** Kinds with all sorts of inputs. */
import { z } from 'zod'
import { defineTask } from '../../actors/kind.ts'

export const anything = defineTask({ kind: 'anything', input: z.unknown(), run() {} })
export const shaped = defineTask({
  kind: 'shaped',
  input: z.object({
    n: z.number(),
    email: z.email().optional(),
    either: z.union([z.string(), z.number()]).optional(),
    list: z.array(z.string()).max(1).optional(),
  }),
  run() {},
})
export const late = defineTask({
  kind: 'late',
  input: z.string().refine(async () => true),
  run() {},
})
