/** For `muster start --tasks`: a kind whose output is the moment at which it was run. */
import { defineTask } from 'muster'
import { z } from 'zod'

export const stamped = defineTask({
  kind: 'bench.stamped',
  input: z.strictObject({}),
  // Epoch milliseconds with what is behind the point, which results do not have.
  run: () => performance.timeOrigin + performance.now(),
})
