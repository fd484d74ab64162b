/** A kind of task that writes down, in the file COUNTS, how many of it run when one begins. */
import { appendFileSync } from 'node:fs'
import { z } from 'zod'
import { defineTask } from '../../runtime/index.ts'

let running = 0

export const counted = defineTask({
  kind: 'counted',
  input: z.object({}),
  async run() {
    running += 1
    appendFileSync(process.env['COUNTS'] ?? '/dev/null', `${running}\n`)
    await Bun.sleep(30)
    running -= 1
  },
})
