/** A handler as there are too many: it computes, and lets nobody else run meanwhile. */
import { z } from 'zod'
import { defineTask } from '../../runtime/index.ts'

export const block = defineTask({
  kind: 'block',
  input: z.object({ ms: z.number() }),
  run({ ms }) {
    for (const until = performance.now() + ms; performance.now() < until; );
    return Promise.resolve(null)
  },
})
