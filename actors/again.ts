/** The tasks of a run as the source of another: those that ended so, in their order. */
import type { Outcome } from '../machines/outcome.ts'
import { UsageError } from './errors.ts'
import type { Kinds } from './kind.ts'
import type { Priority, Results } from './ports.ts'
import type { ResultLine } from './result.ts'
import type { Source, SourceLine } from './source.ts'
import type { Task } from './task.ts'

/** Rows looked at in one go. */
const pageSize = 1000

export function tasksAgain(
  results: Results,
  kinds: Kinds,
  run: string,
  outcomes: readonly Outcome[],
): Source {
  if (outcomes.length === 0) throw new UsageError('outcomes: expected at least one, got none')
  return async function* () {
    /** Of the tasks that are run again: what another depends on, if it is among them. */
    const ids = new Set<string>()
    let line = 0
    let after = -1
    for (;;) {
      const rows = await results.tasks(run, { outcomes, after, limit: pageSize })
      const last = rows.at(-1)
      if (last === undefined) return
      after = last.seq
      const read = rows.map((row): SourceLine => {
        line += 1
        return readRow(line, row, kinds, ids)
      })
      yield { lines: line, read }
    }
  }
}

function readRow(
  line: number,
  row: { line: string; task?: string },
  kinds: Kinds,
  ids: Set<string>,
): SourceLine {
  const { kind, id, target } = JSON.parse(row.line) as ResultLine
  const bytes = row.task?.length ?? 0
  if (!kinds.has(kind)) {
    const message = `expected a kind that this node knows, got "${kind}"; see --tasks`
    return { line, bytes, rejection: { line, path: 'kind', message } }
  }
  const body = JSON.parse(row.task ?? '{}') as Task & { priority?: Priority }
  // It waits no longer, and stands for itself; its own first run has claimed its key.
  const { priority, delayMs: _, dedupeKey: __, dedupeTtlMs: ___, dependsOn, ...rest } = body
  const parents = dependsOn?.filter((name) => ids.has(name)) ?? []
  if (id !== undefined) ids.add(id)
  const task: Task = {
    ...rest,
    ...(id === undefined ? {} : { id }),
    ...(target === undefined ? {} : { target }),
    ...(parents.length === 0 ? {} : { dependsOn: parents }),
  }
  return { line, bytes, accepted: { kind, priority: priority ?? 'normal', task } }
}
