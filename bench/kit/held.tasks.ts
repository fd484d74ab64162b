/**
 * For `muster start --tasks`: a kind that notes each of its runs, and on a node that is told to
 * holds on to the first of them, so that the others wait in the mailbox of that node.
 */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineTask } from 'muster'
import { z } from 'zod'

const folder = process.env['BENCH_RAN'] ?? ''
const isHolding = process.env['BENCH_HOLDS'] === '1'
let ran: number[] = []

/** A run noted a moment late is no harm: whoever is killed here has run none. */
function note(seq: number): void {
  if (ran.length === 0) {
    setTimeout(() => {
      appendFileSync(join(folder, String(process.pid)), new Uint8Array(new Uint32Array(ran).buffer))
      ran = []
    }, 10)
  }
  ran.push(seq)
}

export const held = defineTask({
  kind: 'bench.held',
  input: z.strictObject({}),
  async run(_, { seq, signal }) {
    if (isHolding) {
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      })
    }
    note(seq)
  },
})
