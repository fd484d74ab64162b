/** The results port in memory: the twin of runtime/store/. */
import type { ResultQuery, Results } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'
import { lineWriter, type More, moreOf, type ResultBatch } from '../../actors/results.ts'
import { outcomeCode } from '../../machines/outcome.ts'

interface Row {
  seq: number
  code: number
  line: string
  /** As JSON: nobody holds what another gets. */
  more: string
  priority: ResultBatch['priority']
}

export function memoryResults(): Results {
  const runs = new Map<string, Map<number, Row>>()

  const put = (batch: ResultBatch) => {
    const { run, at, startedAt, durationMs, queueMs, outcomes, priority } = batch
    const more = moreOf(batch)
    const rows = runs.get(run) ?? new Map<number, Row>()
    runs.set(run, rows)
    const write = lineWriter(batch)
    let index = -1
    for (const [first, count] of batch.seqs) {
      for (let seq = first; seq < first + count; seq += 1) {
        index += 1
        if (rows.has(seq)) continue
        const code = outcomes.charCodeAt(index) - 48
        const measured = {
          startedAt: at + (startedAt[index] ?? 0),
          durationMs: durationMs[index] ?? 0,
          queueMs: queueMs[index] ?? 0,
        }
        const said = more?.[index] ?? null
        const line = write({ seq, code, ...measured }, said)
        rows.set(seq, { seq, code, line, more: JSON.stringify(said), priority })
      }
    }
  }

  const select = (run: string, { outcomes = [], after = -1, limit }: ResultQuery): Row[] => {
    const codes = new Set(outcomes.map(outcomeCode))
    return [...(runs.get(run)?.values() ?? [])]
      .filter(({ seq, code }) => seq > after && (codes.size === 0 || codes.has(code)))
      .sort((a, b) => a.seq - b.seq)
      .slice(0, limit)
  }

  return {
    async put(batches) {
      for (const { seqs } of batches) {
        const bad = seqs.flat().find((seq) => !Number.isInteger(seq))
        if (bad !== undefined) throw new TypeError(`expected a whole number as seq, got ${bad}`)
      }
      for (const batch of batches) put(batch)
    },
    query: async (run, query) => select(run, query).map(({ seq, line }) => ({ seq, line })),
    tasks: async (run, query) =>
      select(run, query).map(({ seq, line, more, priority }) => {
        const { task } = (JSON.parse(more) as More | null) ?? {}
        if (task === undefined && priority === undefined) return { seq, line }
        const body = priority === undefined ? task : { ...task, priority }
        return { seq, line, task: JSON.stringify(body) }
      }),
    async get(run, seq) {
      const row = runs.get(run)?.get(seq)
      if (row === undefined) return undefined
      const { attempts = [], routing } = (JSON.parse(row.more) as More | null) ?? {}
      const said = routing === undefined ? {} : { routing }
      return { line: JSON.parse(row.line) as ResultLine, attempts, ...said }
    },
  }
}
