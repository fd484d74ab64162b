/** For `muster start --tasks`: a kind whose output says when, and how often, each task was run. */
import { defineTask } from 'muster'
import { z } from 'zod'

let turns = 0
const times = new Map<string, number>()

export const ordered = defineTask({
  kind: 'bench.ordered',
  input: z.strictObject({ key: z.string(), number: z.int() }),
  run({ key, number }, { run, seq }) {
    const name = `${run}/${seq}`
    const ran = (times.get(name) ?? 0) + 1
    times.set(name, ran)
    turns += 1
    return { key, number, turn: turns, ran }
  },
})
