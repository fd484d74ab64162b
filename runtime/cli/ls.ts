/** `muster ls`: runs, newest first. */
import type { Run } from '../../actors/ports-runs.ts'
import { outcomes } from '../../machines/outcome.ts'
import { elapsed } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { printable } from './report.ts'

export async function ls(invocation: Invocation): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    let shown = 0
    for await (const run of located.muster.runs()) {
      if (terminal.json) await terminal.print(`${JSON.stringify(run)}\n`)
      else await terminal.print(`${shown === 0 ? `${heading}\n` : ''}${row(run, Date.now())}\n`)
      shown += 1
      if (terminal.closed) break
    }
    if (shown === 0) terminal.say('no runs yet; start one with `muster run FILE`')
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

const heading = columns('RUN', 'STATE', 'TASKS', 'OK', 'NOT OK', 'PENDING', 'AGE', 'TOOK', 'REASON')

function row(run: Run, now: number): string {
  const notOk = outcomes
    .filter((outcome) => outcome !== 'ok')
    .reduce((sum, outcome) => sum + run.counts[outcome], 0)
  return columns(
    run.id,
    run.state,
    run.total,
    run.counts.ok,
    notOk,
    run.counts.pending,
    elapsed(Math.max(0, now - run.createdAt)),
    run.durationMs === undefined ? '-' : elapsed(run.durationMs),
    printable(run.reason ?? ''),
  )
}

function columns(...cells: (string | number)[]): string {
  const widths = [16, 9, 9, 9, 8, 8, 10, 10]
  return cells
    .map((cell, index) => String(cell).padEnd(widths[index] ?? 0))
    .join('  ')
    .trimEnd()
}
