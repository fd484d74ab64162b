/** Batches of results as the parameters of one INSERT: a few arrays, however many rows. */
import { createHash } from 'node:crypto'
import { moreOf, type ResultBatch } from '../../actors/results.ts'
import { moreText, textOf } from './rows.ts'

/**
 * Rows in ascending order, whatever the order of their batches: two that insert the same ones wait
 * for each other, and never both. Of two rows for one task the first one wins.
 */
export const insertText = `
  with origins as (
    insert into muster.origin (id, kind, attempt, node, worker, priority)
    select * from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::text[])
    on conflict do nothing
  )
  insert into muster.result
    (run, seq, outcome, origin, started_at, duration_ms, queue_ms, more, attempts, task)
  select batch.run, line.seq, line.outcome, batch.origin, line.started_at, line.duration_ms,
    line.queue_ms, line.more, line.attempts, line.task
  from unnest(
    $9::int[], $10::int[], $11::smallint[], $12::bigint[], $13::float8[], $14::float8[],
    $15::text[], $16::text[], $17::text[]
  ) with ordinality as line (
    batch, seq, outcome, started_at, duration_ms, queue_ms, more, attempts, task, place
  )
  join unnest($7::text[], $8::uuid[]) with ordinality as batch (run, origin, no)
    on batch.no = line.batch
  order by batch.run collate "C", line.seq, line.place
  on conflict (run, seq) do nothing`

/** What one statement carries at most; a single batch may be more. */
const rowsMax = 100_000
const textMax = 32 * 1_048_576

/** Parameters of `insertText`, for one statement or, where there is much to say, several. */
export function insertsOf(batches: readonly ResultBatch[]): unknown[][] {
  const sorted = batches.toSorted(byPlace)
  const inserts: unknown[][] = []
  let insert = new Insert()
  for (const batch of sorted) {
    if (insert.isFull) {
      inserts.push(insert.values)
      insert = new Insert()
    }
    insert.add(batch)
  }
  if (insert.rows > 0) inserts.push(insert.values)
  return inserts
}

/** What is sorted already costs the database no sorting. Equal ones stay as they were put. */
function byPlace(a: ResultBatch, b: ResultBatch): number {
  if (a.run !== b.run) return a.run < b.run ? -1 : 1
  return (a.seqs[0]?.[0] ?? 0) - (b.seqs[0]?.[0] ?? 0)
}

type Text = string | null

class Insert {
  rows = 0
  #textLength = 0
  readonly #origins = new Map<string, readonly (string | number)[]>()
  readonly #runs: string[] = []
  readonly #originOf: string[] = []
  readonly #batch: number[] = []
  readonly #seq: number[] = []
  readonly #outcome: number[] = []
  readonly #startedAt: number[] = []
  readonly #durationMs: number[] = []
  readonly #queueMs: number[] = []
  readonly #more: Text[] = []
  readonly #attempts: Text[] = []
  readonly #task: Text[] = []

  get isFull(): boolean {
    return this.rows >= rowsMax || this.#textLength >= textMax
  }

  add(batch: ResultBatch): void {
    const { kind, attempt, node, worker, priority = 'normal' } = batch
    const origin = [kind, attempt, node, worker, priority]
    const id = nameOf(origin)
    this.#origins.set(id, origin)
    this.#runs.push(batch.run)
    this.#originOf.push(id)
    const said = moreOf(batch)
    let index = 0
    for (const [first, count] of batch.seqs) {
      for (let seq = first; seq < first + count; seq += 1) {
        this.#batch.push(this.#runs.length)
        this.#seq.push(seq)
        this.#outcome.push(batch.outcomes.charCodeAt(index) - 48)
        this.#startedAt.push(batch.at + (batch.startedAt[index] ?? 0))
        this.#durationMs.push(batch.durationMs[index] ?? 0)
        this.#queueMs.push(batch.queueMs[index] ?? 0)
        const more = said?.[index]
        if (more !== undefined && more !== null) {
          this.#say(this.#more, moreText(more))
          this.#say(this.#attempts, textOf(more.attempts))
          this.#say(this.#task, textOf(more.task))
        }
        this.rows += 1
        index += 1
      }
    }
  }

  get values(): unknown[] {
    const origins = [...this.#origins]
    const column = (at: number) => origins.map(([, origin]) => origin[at])
    return [
      origins.map(([id]) => id),
      ...[0, 1, 2, 3, 4].map(column),
      this.#runs,
      this.#originOf,
      ...[this.#batch, this.#seq, this.#outcome].map(numbers),
      ...[this.#startedAt, this.#durationMs, this.#queueMs].map(numbers),
      // unnest fills up those that are shorter.
      this.#more,
      this.#attempts,
      this.#task,
    ]
  }

  #say(texts: Text[], text: Text): void {
    if (text === null) return
    while (texts.length < this.rows) texts.push(null)
    texts.push(text)
    this.#textLength += text.length
  }
}

/** As PostgreSQL writes it; `pg` would quote and escape each of them. */
const numbers = (values: readonly number[]) => `{${values.join(',')}}`

/** A UUID that says the same as long as the origin does. */
function nameOf(origin: readonly (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(origin)).digest('hex').slice(0, 32)
}
