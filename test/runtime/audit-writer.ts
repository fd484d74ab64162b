/** Writes lines to an audit log, for as long as it takes: `DIRECTORY FIRST COUNT FILE_BYTES`. */
import { auditFiles } from '../../runtime/log/audit.ts'

const [directory = '', first, count, fileBytesMax] = process.argv.slice(2)
const audit = auditFiles({
  directory,
  durability: 'everysec',
  fileBytesMax: Number(fileBytesMax),
  filesMax: 1000,
  flushMs: 500,
  log: { warn: () => {} },
})
for (let number = Number(first); number < Number(first) + Number(count); number += 1) {
  await audit.append(`${JSON.stringify({ number })}\n`)
}
audit.close()
