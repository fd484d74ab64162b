/**
 * Whether anything was lost, doubled or out of order: what was submitted against what handlers did
 * (a file that they append to), how the runs say that they ended, what the store has, what
 * was logged.
 */
import { existsSync, readFileSync } from 'node:fs'
import type { Run } from '../../actors/ports-runs.ts'
import { outcomes } from '../../machines/outcome.ts'
import { readLedger } from './ledger.ts'

/** A task as it was submitted, as far as its end can be told from that. */
export interface SubmittedTask {
  /** What its handler appends to the file of effects; none for kinds that append nothing. */
  hasEffect: boolean
  key?: string
  /** It must not run twice. */
  once?: boolean
  /** How it may end. */
  ends: readonly string[]
}

export interface SubmittedRun {
  tasks: readonly SubmittedTask[]
  /** As the API shows it at the end. */
  run: Run
}

export interface Evidence {
  dataDir: string
  /** File of effects. */
  effects: string
  runs: readonly SubmittedRun[]
  /** Whether a task may have run more than once an attempt: somebody who ran some was lost. */
  mayRepeat: boolean
  /** Whether order was asked for of those who might still run what was taken from them. */
  isOrderJudged?: boolean
}

export interface Verdict {
  tasks: number
  /** No outcome, no row, no line in the audit log, or ok without having run. */
  lost: number
  /** More tasks, outcomes or rows than were submitted, or run again where that must not be. */
  doubled: number
  disorder: number
  /** Runs of tasks beyond the first of each attempt. */
  repeats: number
  problems: string[]
}

export interface Effect {
  run: string
  seq: number
  attempt: number
  pid: number
  /** Epoch ms. */
  at: number
}

/** In the order in which they happened. */
export function readEffects(file: string): Effect[] {
  if (!existsSync(file)) return []
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => {
    const [run = '', seq, attempt, pid, at] = line.split(' ')
    return { run, seq: Number(seq), attempt: Number(attempt), pid: Number(pid), at: Number(at) }
  })
}

export function judge(evidence: Evidence): Verdict {
  const verdict = { tasks: 0, lost: 0, doubled: 0, disorder: 0, repeats: 0, problems: [] }
  const byRun = Map.groupBy(readEffects(evidence.effects), ({ run }) => run)
  for (const submitted of evidence.runs) {
    const effects = byRun.get(submitted.run.id) ?? []
    judgeOutcomes(verdict, evidence, submitted, effects)
    judgeEffects(verdict, evidence, submitted, effects)
    if (evidence.isOrderJudged ?? true) judgeOrder(verdict, submitted, effects)
  }
  return verdict
}

function judgeOutcomes(
  verdict: Verdict,
  { dataDir }: Evidence,
  { run, tasks }: SubmittedRun,
  effects: readonly Effect[],
): void {
  const fail = (what: 'lost' | 'doubled', by: number, words: string) => {
    if (by <= 0) return
    verdict[what] += by
    verdict.problems.push(`${run.id}: ${by} ${what}: ${words}`)
  }
  const total = tasks.length
  verdict.tasks += total
  const { rows, audited } = readLedger(dataDir, run.id)
  const counted = outcomes.reduce((sum, outcome) => sum + run.counts[outcome], 0)
  fail('lost', run.counts.pending, 'pending at the end')
  fail('lost', total - run.total, `accepted ${run.total} of ${total}`)
  fail('doubled', run.total - total, `accepted ${run.total} of ${total}`)
  fail('doubled', counted - total, 'more outcomes counted than tasks submitted')
  fail('lost', total - rows.length, 'no row')
  fail('doubled', rows.length - new Set(rows.map(({ seq }) => seq)).size, 'two rows of a task')
  fail('lost', rows.filter(({ seq }) => !audited.has(seq)).length, 'not in the audit log')
  for (const outcome of outcomes) {
    const stored = rows.filter((row) => row.outcome === outcome).length
    const words = `${stored} rows say ${outcome}, ${run.counts[outcome]} are counted`
    fail('doubled', Math.abs(run.counts[outcome] - stored), words)
  }
  const ran = new Set(effects.map(({ seq }) => seq))
  for (const { seq, outcome } of rows) {
    const task = tasks[seq]
    if (task === undefined) fail('doubled', 1, `a row of seq ${seq}, which was not submitted`)
    else if (!task.ends.includes(outcome)) {
      const words = `expected ${task.ends.join(' or ')}, got ${outcome}`
      verdict.problems.push(`${run.id}/${seq}: ${words}`)
    } else if (task.hasEffect && outcome === 'ok' && !ran.has(seq)) {
      fail('lost', 1, `seq ${seq} is ok and never ran`)
    }
  }
}

function judgeEffects(
  verdict: Verdict,
  { mayRepeat }: Evidence,
  { run, tasks }: SubmittedRun,
  effects: readonly Effect[],
): void {
  const bySeq = Map.groupBy(effects, ({ seq }) => seq)
  for (const [seq, of] of bySeq) {
    const again = of.length - new Set(of.map(({ attempt }) => attempt)).size
    verdict.repeats += again
    const tooOften = tasks[seq]?.once === true ? of.length - 1 : mayRepeat ? 0 : again
    if (tooOften <= 0) continue
    verdict.doubled += tooOften
    const lives = of.map(({ attempt, pid }) => `attempt ${attempt} in ${pid}`).join(', ')
    verdict.problems.push(`${run.id}/${seq}: ran ${tooOften} times too often: ${lives}`)
  }
}

/**
 * Of one key, each task runs for the first time after those before it, and what is run again after
 * a loss is run again in order: the last time, too.
 */
function judgeOrder(
  verdict: Verdict,
  { run, tasks }: SubmittedRun,
  effects: readonly Effect[],
): void {
  const keyed = effects.filter(({ seq }) => tasks[seq]?.key !== undefined)
  const byKey = Map.groupBy(keyed, ({ seq }) => tasks[seq]?.key ?? '')
  for (const [key, of] of byKey) {
    const seqs = of.map(({ seq }) => seq)
    const first = [...new Set(seqs)]
    const last = [...new Set(seqs.toReversed())].toReversed()
    const inversions = inversionsIn(first) + inversionsIn(last)
    if (inversions === 0) continue
    verdict.disorder += inversions
    verdict.problems.push(`${run.id}: key ${key} ran as ${seqs.join(' ')}`)
  }
}

function inversionsIn(seqs: readonly number[]): number {
  return seqs.filter((seq, index) => seq < (seqs[index - 1] ?? seq)).length
}
