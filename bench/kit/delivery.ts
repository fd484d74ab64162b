/**
 * Whether a run was delivered exactly once, by everything that a node says and keeps of it: the
 * counts, the rows of the result store (asked for from outside, and read past the program), and the
 * lines of the audit log. Made for ten million tasks: nothing is parsed that need not be.
 */
import { Database } from 'bun:sqlite'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../runtime/index.ts'
import type { BenchNode } from './node.ts'

const newline = 10
const seqMark = Buffer.from('"seq":')

/** What is wrong, in sentences; nothing, if nothing is. */
export async function deliveryFaults(node: BenchNode, run: Run, tasks: number): Promise<string[]> {
  const answered = new Seqs(tasks)
  const answer = await fetch(`${node.url}/v1/runs/${run.id}/results`, {
    headers: { accept: 'application/x-ndjson' },
  })
  if (answer.body !== null) await eachLine(answer.body, (line) => answered.add(seqIn(line)))
  const told = answered.faults('the results').map((fault) => `run of ${tasks}: ${fault}`)
  return [...told, ...(await keptFaults(node, run, tasks))]
}

/** The same of all that can be seen without asking the node, which to answer is work for. */
export async function keptFaults(node: BenchNode, run: Run, tasks: number): Promise<string[]> {
  const audited = await auditedOf(node, run, tasks)
  return [
    ...countFaults(run, tasks),
    ...storeFaults(node.dataDir, run, tasks),
    ...audited.faults('the audit log'),
  ].map((fault) => `run of ${tasks}: ${fault}`)
}

async function auditedOf(node: BenchNode, run: Run, tasks: number): Promise<Seqs> {
  const folder = join(node.dataDir, 'audit')
  const filesNow = () => readdirSync(folder).filter((file) => file.endsWith('.ndjson'))
  const own = Buffer.from(`"run":"${run.id}"`)
  for (;;) {
    const audited = new Seqs(tasks)
    const files = filesNow()
    for (const name of files) {
      await eachLine(Bun.file(join(folder, name)).stream(), (line) => {
        if (line.includes(own)) audited.add(seqIn(line))
      })
    }
    // A file that is put aside meanwhile gives all others another name.
    if (filesNow().length === files.length) return audited
  }
}

function countFaults({ state, total, counts, rejectedCount }: Run, tasks: number): string[] {
  if (state === 'completed' && total === tasks && counts.ok === tasks && rejectedCount === 0) {
    return []
  }
  const got = JSON.stringify({ state, total, counts, rejectedCount })
  return [`expected ${tasks} tasks to be ok, got ${got}`]
}

function storeFaults(dataDir: string, run: Run, tasks: number): string[] {
  const store = new Database(join(dataDir, 'results.sqlite'), { readwrite: true })
  try {
    const found = store
      .query<{ rows: number; seqs: number }, [string]>(
        'select count(*) as rows, count(distinct seq) as seqs from result ' +
          'join run on run.no = run_no where id = ?',
      )
      .get(run.id)
    if (found?.rows === tasks && found.seqs === tasks) return []
    return [`expected ${tasks} rows and as many seqs in SQLite, got ${JSON.stringify(found)}`]
  } finally {
    store.close()
  }
}

/** Which of the seqs 0…tasks-1 were there, and how often. */
class Seqs {
  readonly #seen: Uint8Array
  #all = 0
  #twice = 0
  #strange = 0

  constructor(tasks: number) {
    this.#seen = new Uint8Array(tasks)
  }

  add(seq: number): void {
    this.#all += 1
    const before = this.#seen[seq]
    if (before === undefined) this.#strange += 1
    else if (before > 0) this.#twice += 1
    else this.#seen[seq] = 1
  }

  faults(where: string): string[] {
    const tasks = this.#seen.length
    if (this.#all === tasks && this.#twice === 0 && this.#strange === 0) return []
    const missing = tasks - (this.#all - this.#twice - this.#strange)
    const what = `${missing} missing, ${this.#twice} twice, ${this.#strange} of unknown seq`
    return [`expected each of ${tasks} seqs once in ${where}, got ${this.#all} lines: ${what}`]
  }
}

/** The first `"seq":` of a line is its own: what its author wrote comes behind it. */
function seqIn(line: Buffer): number {
  let at = line.indexOf(seqMark)
  if (at < 0) return Number.NaN
  let seq = 0
  for (at += seqMark.length; at < line.length; at += 1) {
    const digit = (line[at] ?? 0) - 48
    if (digit < 0 || digit > 9) break
    seq = seq * 10 + digit
  }
  return seq
}

async function eachLine(
  stream: ReadableStream<Uint8Array>,
  see: (line: Buffer) => void,
): Promise<void> {
  let rest = Buffer.alloc(0)
  for await (const bytes of stream) {
    const piece = rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([rest, bytes])
    let start = 0
    for (let end = piece.indexOf(newline); end >= 0; end = piece.indexOf(newline, start)) {
      see(piece.subarray(start, end))
      start = end + 1
    }
    rest = piece.subarray(start)
  }
  if (rest.length > 0) see(rest)
}
