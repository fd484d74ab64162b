/** How many of the tasks of a run: `--window`, and the limit of `--halt`, as they are written. */
import { UsageError } from './errors.ts'
import type { HaltPolicy, Share } from './ports-runs.ts'

/**
 * `10` or `10%`.
 * @param where names the place in errors
 * @throws UsageError
 */
export function readShare(where: string, text: string): Share {
  const [, digits, percent] = /^(\d{1,15}(?:\.\d{1,6})?)(%?)$/.exec(text.trim()) ?? []
  const number = Number(digits)
  const isShare = percent === '%' ? number > 0 && number <= 100 : Number.isInteger(number)
  if (digits === undefined || !isShare || number === 0) {
    const expected = 'a number of tasks above 0, or a percentage of them above 0% and up to 100%'
    throw new UsageError(`${where}: expected ${expected}, got "${text}"`)
  }
  return percent === '%' ? { percent: number } : { tasks: number }
}

/**
 * `soon,fail=3`, `now,fail=10%`.
 * @param where names the place in errors
 * @throws UsageError
 */
export function readHalt(where: string, text: string): HaltPolicy {
  const [, mode, limit] = /^(soon|now),fail=(.+)$/.exec(text.trim()) ?? []
  if ((mode !== 'soon' && mode !== 'now') || limit === undefined) {
    const expected = 'soon or now and a limit, as in "soon,fail=3" or "now,fail=10%"'
    throw new UsageError(`${where}: expected ${expected}, got "${text}"`)
  }
  return { mode, fail: readShare(`${where}: fail`, limit) }
}

export function shareText(share: Share): string {
  return 'tasks' in share ? String(share.tasks) : `${share.percent}%`
}

export function haltText({ mode, fail }: HaltPolicy): string {
  return `${mode},fail=${shareText(fail)}`
}
