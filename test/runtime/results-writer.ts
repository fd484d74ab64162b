/**
 * A process of its own that writes results. Arguments: file, run, first seq, how many, rows a
 * batch. It waits for a line on stdin after it has opened the file.
 */
import { sqliteResults } from '../../runtime/store/sqlite.ts'
import { rowOf } from '../conformance/results.ts'

const [file = '', run = '', first, count, batch] = process.argv.slice(2)
const results = sqliteResults(file)
console.log('open')
const go = Promise.withResolvers<void>()
process.stdin.once('data', () => go.resolve())
await go.promise
const end = Number(first) + Number(count)
for (let seq = Number(first); seq < end; seq += Number(batch)) {
  const size = Math.min(Number(batch), end - seq)
  await results.put(
    Array.from({ length: size }, (_, index) => rowOf(run, seq + index, 'ok', process.pid)),
  )
  console.log(`put ${seq + size}`)
}
results.close()
process.stdin.destroy()
