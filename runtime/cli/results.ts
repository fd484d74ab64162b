/** `muster results`, and the report at the end of `run`. */
import { type FileHandle, open } from 'node:fs/promises'

import { DataDirectoryError, describeError, UsageError } from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import { isOutcome, type Outcome, outcomes } from '../../machines/outcome.ts'
import type { Muster, ResultsQuery } from '../client-api.ts'
import { exitCodeOfRun, exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { Fold, type FoldHow, painter, recap, renderGroups } from './report.ts'
import type { Terminal } from './terminal.ts'

export interface ResultsFlags {
  outcome?: string
  fold?: FoldHow | 'none'
}

/** Up to here every result is read; beyond, only those that are not ok, and as many of them. */
const reportResultsMax = 10_000
/** A run of this many tasks, an audit say, is read check by check: nothing is left out. */
const smallRun = 200
const reportGroupsMax = 20

export async function results(
  invocation: Invocation,
  run: string,
  flags: ResultsFlags,
): Promise<number> {
  const { terminal } = invocation
  const query = flags.outcome === undefined ? {} : { outcomes: parseOutcomes(flags.outcome) }
  const located = await locate(invocation, { roles: [] })
  try {
    const { muster } = located
    const found = await muster.get(run)
    if (terminal.json) await printLines(muster, run, query, terminal)
    else if (flags.fold === 'none') await printEach(muster, run, query, terminal)
    else await printFolded(muster, found, query, terminal, flags.fold)
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

function parseOutcomes(text: string): Outcome[] {
  return text.split(',').map((word) => {
    if (isOutcome(word)) return word
    throw new UsageError(`--outcome: expected some of ${outcomes.join(',')}, got '${word}'`)
  })
}

async function printLines(
  muster: Muster,
  run: string,
  query: ResultsQuery,
  terminal: Terminal,
): Promise<void> {
  for await (const lines of muster.resultLines(run, query)) {
    if (lines.length > 0) await terminal.print(`${lines.join('\n')}\n`)
    if (terminal.closed) return
  }
}

/** Task by task, in the order of the source. */
async function printEach(
  muster: Muster,
  run: string,
  query: ResultsQuery,
  terminal: Terminal,
): Promise<void> {
  for await (const line of muster.results(run, query)) {
    const fold = new Fold(1)
    fold.add(line)
    const options = { run, colors: terminal.out, groupsMax: 1 }
    await terminal.print(`${renderGroups(fold.groups(), options).join('\n')}\n`)
    if (terminal.closed) return
  }
}

async function printFolded(
  muster: Muster,
  run: Run,
  query: ResultsQuery,
  terminal: Terminal,
  how?: FoldHow,
): Promise<void> {
  const fold = new Fold(undefined, how)
  for await (const line of muster.results(run.id, query)) fold.add(line)
  const groups = fold.groups()
  const options = { run: run.id, colors: terminal.out, groupsMax: groups.length }
  const lines = renderGroups(groups, options)
  const kinds = fold.isWhole ? groups.length : undefined
  await terminal.print(`${[...lines, recap(run, kinds)].join('\n')}\n`)
}

/** What `run` prints when it has ended: groups, failures last, and the recap as the last line. */
export async function printReport(muster: Muster, run: Run, terminal: Terminal): Promise<void> {
  if (terminal.json) {
    await terminal.print(`${JSON.stringify(run)}\n`)
    return
  }
  const fold = await foldRun(muster, run)
  const groups = fold.groups()
  const groupsMax = run.total <= smallRun ? groups.length : reportGroupsMax
  const lines = renderGroups(groups, { run: run.id, colors: terminal.out, groupsMax })
  if (lines.length > 0) await terminal.print(`${lines.join('\n')}\n`)
  sayNext(run, terminal)
  const paint =
    exitCodeOfRun(run) === exitCodes.ok ? painter('ok', terminal.out) : terminal.out.bold
  await terminal.print(`${paint(recap(run, fold.isWhole ? groups.length : undefined))}\n`)
}

async function foldRun(muster: Muster, run: Run): Promise<Fold> {
  const fold = new Fold()
  const query: ResultsQuery =
    run.total <= reportResultsMax
      ? {}
      : { outcomes: outcomes.filter((outcome) => outcome !== 'ok'), limit: reportResultsMax }
  const isEmpty = query.outcomes !== undefined && run.counts.ok === run.total
  if (run.total > 0 && !isEmpty) {
    for await (const line of muster.results(run.id, query)) fold.add(line)
  }
  fold.complete(run.counts)
  return fold
}

function sayNext(run: Run, terminal: Terminal): void {
  const notOk = outcomes.filter((outcome) => outcome !== 'ok' && run.counts[outcome] > 0)
  if (notOk.length === 0) return
  terminal.say(`next: muster results ${run.id} --outcome ${notOk.join(',')}`)
}

/** A file for result lines, made before there are any: a path that cannot be shows at once. */
export async function openResultsFile(file: string): Promise<FileHandle> {
  return open(file, 'w').catch((error: unknown) => {
    throw new DataDirectoryError(`--results: cannot write ${file}: ${describeError(error).message}`)
  })
}

/** Every result line of a run into the file. */
export async function writeResults(muster: Muster, run: string, file: FileHandle): Promise<void> {
  for await (const lines of muster.resultLines(run)) {
    if (lines.length === 0) continue
    await file.write(`${lines.join('\n')}\n`).catch((error: unknown) => {
      throw new DataDirectoryError(`--results: cannot write: ${describeError(error).message}`)
    })
  }
}
