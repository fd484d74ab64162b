/** The results port in memory: the twin of runtime/store/. */
import type { Attempt, ResultQuery, ResultRow, Results } from '../../actors/ports.ts'
import type { ResultLine } from '../../actors/result.ts'

export function memoryResults(): Results {
  const runs = new Map<string, Map<number, ResultRow>>()
  const rows = (run: string, { outcomes, after, limit }: ResultQuery) =>
    [...(runs.get(run)?.values() ?? [])]
      .filter((row) => row.seq > (after ?? -1))
      .filter((row) => (outcomes?.length ?? 0) === 0 || outcomes?.includes(row.outcome) === true)
      .sort((a, b) => a.seq - b.seq)
      .slice(0, limit)

  return {
    async put(rows) {
      const bad = rows.find(({ seq }) => !Number.isInteger(seq))
      if (bad !== undefined) throw new TypeError(`expected a whole number as seq, got ${bad.seq}`)
      for (const row of rows) {
        const run = runs.get(row.run) ?? new Map<number, ResultRow>()
        runs.set(row.run, run)
        if (!run.has(row.seq)) run.set(row.seq, { ...row })
      }
    },
    query: async (run, query) => rows(run, query).map(({ seq, line }) => ({ seq, line })),
    tasks: async (run, query) =>
      rows(run, query).map(({ seq, line, task }) => ({
        seq,
        line,
        ...(task === undefined ? {} : { task }),
      })),
    async get(run, seq) {
      const row = runs.get(run)?.get(seq)
      if (row === undefined) return undefined
      return {
        line: JSON.parse(row.line) as ResultLine,
        attempts: row.attempts === undefined ? [] : (JSON.parse(row.attempts) as Attempt[]),
      }
    },
  }
}
