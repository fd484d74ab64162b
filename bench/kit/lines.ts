/** Files and streams of task lines. */
import { join } from 'node:path'
import { temporaryDirectory } from '../../test/kit/directory.ts'

const made = new Map<string, string>()
const pieceLines = 100_000

/** Path of a file with so many times the same line; made once. */
export async function fileOf(line: string, tasks: number): Promise<string> {
  const name = `${tasks} ${line}`
  const known = made.get(name)
  if (known !== undefined) return known
  const path = join(temporaryDirectory(), 'tasks.ndjson')
  const writer = Bun.file(path).writer()
  for (let left = tasks; left > 0; left -= pieceLines) {
    void writer.write(`${line}\n`.repeat(Math.min(left, pieceLines)))
    // Which waits for what was written before.
    await writer.flush()
  }
  await writer.end()
  made.set(name, path)
  return path
}

export const noopLine = '{"kind":"noop"}'
