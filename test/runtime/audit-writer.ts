/**
 * Writes results to an audit log, for as long as it takes, so many together:
 * `DIRECTORY FIRST COUNT FILE_BYTES TOGETHER`.
 */
import { auditFiles } from '../../runtime/log/audit.ts'
import { resultsOf } from './audit-batch.ts'

const [directory = '', ...words] = process.argv.slice(2)
const [first = 0, count = 0, fileBytesMax = 0, together = 1] = words.map(Number)
const audit = auditFiles({
  directory,
  durability: 'everysec',
  fileBytesMax,
  filesMax: 1000,
  flushMs: 5,
  log: { warn: () => {} },
})
for (let seq = first; seq < first + count; seq += together) {
  await audit.appendResults([resultsOf(seq, together)])
}
await audit.close()
