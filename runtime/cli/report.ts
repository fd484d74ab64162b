/**
 * The report of a run: results folded into groups that say the same, and the words for them. Pure.
 * Memory is bounded whatever the size of the run: at most `groupsMax` groups, each with a sample
 * cut to a screenful; what differs beyond that is only counted.
 */
import { createHash } from 'node:crypto'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { type Outcome, outcomes } from '../../machines/outcome.ts'
import { similar, withoutHost } from './alike.ts'
import { elapsed } from './elapsed.ts'
import type { Colors } from './terminal.ts'

const sampleLinesMax = 12
const sampleColumnsMax = 400
const namesMax = 5

/** Tasks that ended alike: same outcome, same exit code, same words. */
export interface Group {
  outcome: Outcome
  count: number
  /** Seq of the first task seen of the group; -1 for tasks that were only counted. */
  firstSeq: number
  /** The first few tasks, as people call them. */
  names: string[]
  /** Why it is not ok, in a few words. */
  detail: string
  /** What it said, cut to a screenful. */
  text: string[]
  /** Lines that were cut off. */
  hiddenLines: number
}

interface CommandOutput {
  exitCode: number | null
  signal?: string | null
  stdout: string
  stderr: string
}

/** `exact`: what says the same but for the name of its host; `similar`: but for numbers as well. */
export type FoldHow = 'exact' | 'similar'

export class Fold {
  readonly #groups = new Map<string, Group>()
  readonly #groupsMax: number
  readonly #how: FoldHow
  readonly #seen = new Map<Outcome, number>()
  readonly #uncounted = new Map<Outcome, number>()

  constructor(groupsMax = 1000, how: FoldHow = 'exact') {
    this.#groupsMax = groupsMax
    this.#how = how
  }

  add(line: ResultLine): void {
    this.#seen.set(line.outcome, (this.#seen.get(line.outcome) ?? 0) + 1)
    const key = foldKey(line, this.#how)
    const group = this.#groups.get(key)
    if (group !== undefined) {
      group.count += 1
      if (group.names.length < namesMax) group.names.push(nameOf(line))
    } else if (this.#groups.size < this.#groupsMax) {
      this.#groups.set(key, groupOf(line))
    } else {
      this.#count(line.outcome, 1)
    }
  }

  /** Account for the tasks of a run whose results were not looked at. */
  complete(counts: Run['counts']): void {
    for (const outcome of outcomes) {
      const missing = counts[outcome] - (this.#seen.get(outcome) ?? 0)
      if (missing > 0) this.#count(outcome, missing)
    }
  }

  /** False when some tasks were only counted, so that the number of groups means nothing. */
  get isWhole(): boolean {
    return this.#uncounted.size === 0
  }

  /** In the order of reading: ok first, failures last, bigger groups before smaller ones. */
  groups(): Group[] {
    const counted = [...this.#uncounted].map(
      ([outcome, count]): Group => ({
        outcome,
        count,
        firstSeq: -1,
        names: [],
        detail: '',
        text: [],
        hiddenLines: 0,
      }),
    )
    return [...this.#groups.values(), ...counted].sort(
      (a, b) => rank(a.outcome) - rank(b.outcome) || b.count - a.count || a.firstSeq - b.firstSeq,
    )
  }

  #count(outcome: Outcome, tasks: number): void {
    this.#uncounted.set(outcome, (this.#uncounted.get(outcome) ?? 0) + tasks)
  }
}

const reading: readonly Outcome[] = [
  'ok',
  'unreached',
  'cancelled',
  'expired',
  'timeout',
  'dead',
  'failed',
]

function rank(outcome: Outcome): number {
  return reading.indexOf(outcome)
}

function foldKey(line: ResultLine, how: FoldHow): string {
  const { output } = line
  const said = isCommandOutput(output)
    ? [output.exitCode, output.signal ?? null, output.stdout, output.stderr]
    : [output ?? null]
  const about = JSON.stringify([said, line.error ?? null])
  const masked = line.target === undefined ? about : withoutHost(about, line.target)
  const code = isCommandOutput(output) ? output.exitCode : null
  const key = `${line.outcome} ${code} ${how === 'similar' ? similar(masked) : masked}`
  return key.length <= 128 ? key : createHash('sha256').update(key).digest('base64')
}

function isCommandOutput(output: unknown): output is CommandOutput {
  return (
    typeof output === 'object' &&
    output !== null &&
    'exitCode' in output &&
    'stdout' in output &&
    typeof output.stdout === 'string' &&
    'stderr' in output &&
    typeof output.stderr === 'string'
  )
}

function groupOf(line: ResultLine): Group {
  const lines = textOf(line)
  return {
    outcome: line.outcome,
    count: 1,
    firstSeq: line.seq,
    names: [nameOf(line)],
    detail: detailOf(line),
    text: lines.slice(0, sampleLinesMax).map(cut),
    hiddenLines: Math.max(0, lines.length - sampleLinesMax),
  }
}

function nameOf(line: ResultLine): string {
  return printable(line.id ?? line.target ?? `#${line.seq}`)
}

function detailOf(line: ResultLine): string {
  if (line.outcome === 'ok') return ''
  const { output, error } = line
  if (isCommandOutput(output) && line.outcome === 'failed') {
    if (typeof output.signal === 'string') return `killed by ${printable(output.signal)}`
    if (output.exitCode !== null) return `exit ${output.exitCode}`
  }
  return cut(printable(error?.message ?? '').replaceAll('\n', ' '))
}

function textOf(line: ResultLine): string[] {
  const { output } = line
  if (isCommandOutput(output)) {
    const said = splitLines(output.stdout)
    return [...said, ...splitLines(output.stderr).map((text) => `stderr: ${text}`)]
  }
  if (output === undefined || output === null) return []
  return splitLines(typeof output === 'string' ? output : JSON.stringify(output))
}

function splitLines(text: string): string[] {
  const trimmed = printable(text).trimEnd()
  return trimmed === '' ? [] : trimmed.split('\n')
}

/** A task's output must not steer the reader's terminal. */
export function printable(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(/[^\P{Cc}\n\t]/gu, '�')
}

function cut(line: string): string {
  return line.length <= sampleColumnsMax ? line : `${line.slice(0, sampleColumnsMax)}…`
}

export interface RenderOptions {
  run: string
  colors: Colors
  /** Groups shown; more are only counted, and never the failures before the rest. */
  groupsMax: number
}

/** Groups as lines for people. */
export function renderGroups(groups: readonly Group[], options: RenderOptions): string[] {
  const hidden = Math.max(0, groups.length - options.groupsMax)
  // The last ones are the failures: what is left out comes from the front.
  const shown = groups.slice(hidden)
  const width = Math.min(28, Math.max(0, ...shown.map((group) => labelOf(group).length)))
  const lines = hidden > 0 ? [`${hidden} more: muster results ${options.run}`] : []
  return [...lines, ...shown.flatMap((group) => renderGroup(group, width, options))]
}

function labelOf(group: Group): string {
  return group.count === 1 ? (group.names[0] ?? '1 task') : `${group.count} tasks`
}

function renderGroup(group: Group, width: number, { colors, run }: RenderOptions): string[] {
  const paint = painter(group.outcome, colors)
  const head = `${paint(group.outcome.padEnd(9))}  ${labelOf(group).padEnd(width)}`
  const [only] = group.text
  const inline = group.text.length === 1 && group.hiddenLines === 0 ? only : undefined
  const detail = inline !== undefined && group.detail !== '' ? `(${group.detail})` : group.detail
  const words = detail === '' ? '' : colors.dim(detail)
  const first = [head, inline ?? '', words].filter((part) => part.trim() !== '')
  const lines = [first.join('  ').trimEnd()]
  if (group.count > 1 && group.outcome !== 'ok' && group.names.length > 0) {
    const more = group.count - group.names.length
    lines.push(`    which: ${group.names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`)
  }
  if (inline === undefined) lines.push(...group.text.map((line) => `    ${line}`))
  if (group.hiddenLines > 0) {
    const where = `muster show ${run}/${group.firstSeq} --json`
    lines.push(colors.dim(`    … ${group.hiddenLines} more lines: ${where}`))
  }
  return lines
}

export function painter(outcome: Outcome, colors: Colors): (text: string) => string {
  if (outcome === 'ok') return colors.green
  if (outcome === 'failed' || outcome === 'dead') return colors.red
  return colors.yellow
}

/** The last line of a report: `r-… 38 = 36 ok + 2 failed  1.2 s  36 kinds of output`. */
export function recap(run: Run, kinds: number | undefined): string {
  const counts = [...outcomes, 'pending' as const]
    .filter((outcome) => run.counts[outcome] > 0)
    .map((outcome) => `${run.counts[outcome]} ${outcome}`)
  const sum = counts.length === 0 ? '0 tasks' : `${run.total} = ${counts.join(' + ')}`
  const parts = [`${run.id} ${sum}`]
  if (run.rejectedCount > 0) parts.push(`${run.rejectedCount} ${plural('line', run)} rejected`)
  if (run.state !== 'completed') parts.push(run.state)
  if (run.stopReason !== undefined) parts.push(printable(run.stopReason))
  if (run.durationMs !== undefined) parts.push(elapsed(run.durationMs))
  if (kinds !== undefined && kinds > 0)
    parts.push(`${kinds} ${kinds === 1 ? 'kind' : 'kinds'} of output`)
  return parts.join('  ')
}

function plural(word: string, run: Run): string {
  return run.rejectedCount === 1 ? word : `${word}s`
}
