/** Trying a row with its seeds, and the table of what came of it. */
import { seededRandom } from '../kit/random.ts'
import type { Row, Trial } from './row.ts'

export interface Tried {
  row: Row
  trials: Trial[]
  /** Each with its seed; none: the row holds. */
  problems: string[]
}

/** @param say hears of every trial, and at once of what is wrong */
export async function tryRow(
  row: Row,
  firstSeed: number,
  seeds: number,
  say: (line: string) => void,
): Promise<Tried> {
  const tried: Tried = { row, trials: [], problems: [] }
  const indexes = Array.from({ length: seeds }, (_, index) => index).values()
  const work = async () => {
    for (const index of indexes) {
      const seed = firstSeed + index
      const since = performance.now()
      let problems: string[]
      try {
        const found = await row.run(seededRandom(seed), index)
        tried.trials.push(found)
        problems = found.problems
      } catch (error) {
        problems = [error instanceof Error ? error.message : String(error)]
      }
      const took = `${Math.round(performance.now() - since)} ms`
      say(`${problems.length === 0 ? 'ok  ' : 'FAIL'} ${row.name} seed ${seed} #${index} (${took})`)
      for (const problem of problems) say(`       ${problem}`)
      tried.problems.push(...problems.map((problem) => `seed ${seed} #${index}: ${problem}`))
    }
  }
  await Promise.all(Array.from({ length: row.atOnce ?? 1 }, work))
  return tried
}

export function tableOf(all: readonly Tried[]): string {
  const header = [
    '| fault | seeds | tasks | lost | doubled | order violations | run again | ' +
      'recovery p50 / max | |',
    '|---|---:|---:|---:|---:|---:|---:|---:|---|',
  ]
  const lines = all.map(({ row, trials, problems }) => {
    const sum = (of: 'tasks' | 'lost' | 'doubled' | 'disorder' | 'repeats') =>
      String(trials.reduce((total, one) => total + one[of], 0))
    const ms = trials.flatMap(({ recoveryMs }) => recoveryMs).toSorted((a, b) => a - b)
    const half = ms[Math.floor((ms.length - 1) / 2)]
    const most = ms.at(-1)
    const recovery =
      half === undefined || most === undefined ? '–' : `${seconds(half)} / ${seconds(most)}`
    const cells = [
      row.fault,
      String(trials.length),
      sum('tasks'),
      sum('lost'),
      sum('doubled'),
      sum('disorder'),
      sum('repeats'),
      recovery,
      problems.length === 0
        ? 'holds'
        : `**${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}**`,
    ]
    return `| ${cells.join(' | ')} |`
  })
  return [...header, ...lines].join('\n')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
