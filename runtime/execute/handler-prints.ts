/** What handlers print is for people; stdout is for data, one object with `--json`. */
import { Console } from 'node:console'

/** Writes data; what is printed through `process.stdout` is not that, once handlers may do it. */
export const writeOut = process.stdout.write.bind(process.stdout)

/** For a process, or a thread, in which handlers run. */
export function printToStderr(): void {
  const write = process.stderr.write.bind(process.stderr)
  Object.assign(console, new Console({ stdout: process.stderr, stderr: process.stderr }))
  console.write = (...data) => {
    for (const piece of data) write(typeof piece === 'string' ? piece : Buffer.from(piece as never))
    return data.length
  }
  process.stdout.write = write
}
