/**
 * What does a task's line in the audit log cost? Made of a batch of 1000, and appended to the files
 * (rotated and synced as by default), by itself and both together.
 *
 *   bun bench/log.bench.ts [--quick] [--json]
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { linesOf } from '../actors/results.ts'
import { auditFiles } from '../runtime/log/audit.ts'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { readOptions } from './kit/options.ts'
import { measureParts, quiet } from './kit/parts.ts'
import { batchOf, envelopeTasks } from './kit/sample.ts'

/** Envelopes a round: of one the clock could not tell much. */
const envelopes = 10
const directory = join(temporaryDirectory(), 'audit')
const audit = auditFiles({
  directory,
  fileBytesMax: 100 * 1_048_576,
  // More than by default: in the end every line is looked for.
  filesMax: 1000,
  durability: 'everysec',
  flushMs: 500,
  log: quiet,
})
const batch = batchOf('r-logbench', 0, envelopeTasks)
const text = [...linesOf(batch)].join('')
let appended = 0
let made = 0

async function append(one: () => Promise<void>): Promise<void> {
  for (let index = 0; index < envelopes; index += 1) {
    await one()
    appended += envelopeTasks
  }
}

async function makeOnly(): Promise<void> {
  // Its length in bytes: otherwise the text would be left in the pieces it is made of.
  for (let index = 0; index < envelopes; index += 1) {
    for (const some of linesOf(batch)) made += Buffer.byteLength(some)
  }
}

const size = { tasks: envelopes * envelopeTasks, calls: envelopes }
try {
  await measureParts({
    bench: 'log',
    options: readOptions(),
    parts: [
      { what: 'lines made', ...size, round: makeOnly },
      { what: 'lines appended', ...size, round: () => append(() => audit.append(text)) },
      {
        what: 'made and appended',
        ...size,
        round: () => append(() => audit.appendResults([batch])),
      },
    ],
    notes: [
      `envelopes of ${envelopeTasks} tasks, ${Math.round(text.length / envelopeTasks)} B a line`,
    ],
    async faults() {
      let lines = 0
      for (const name of readdirSync(directory)) {
        for (const byte of readFileSync(join(directory, name))) if (byte === 10) lines += 1
      }
      const wrong = made % text.length
      if (lines === appended && wrong === 0) return []
      return [`expected ${appended} lines, got ${lines}; ${wrong} bytes of lines too many or few`]
    },
  })
} finally {
  await audit.close()
}
