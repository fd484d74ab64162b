/** For `muster start --tasks`: many kinds, each with actors of its own. */
import { defineTask } from 'muster'
import { z } from 'zod'

export const many = Array.from({ length: 80 }, (_, index) =>
  defineTask({ kind: `many.${index}`, input: z.strictObject({}), run: () => undefined }),
)
