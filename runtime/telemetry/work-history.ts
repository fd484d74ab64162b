/** How the work of this node went, as it tells the others: folded anew each time that it does. */
import { foldHistory, type WorkHistory } from '../../machines/balancer.ts'
import { metrics } from './names.ts'
import type { Tally } from './tally.ts'

interface Totals {
  attempts: number
  ok: number
  durationMs: number
}

export class NodeHistory {
  readonly #tally: Pick<Tally, 'seriesOf'>
  #before: Totals = { attempts: 0, ok: 0, durationMs: 0 }
  #history: WorkHistory | undefined

  constructor(tally: Pick<Tally, 'seriesOf'>) {
    this.#tally = tally
  }

  /** With what was done since it was last asked; undefined before anything was. */
  next(): WorkHistory | undefined {
    const totals = this.#totals()
    const before = this.#before
    this.#before = totals
    const attempts = totals.attempts - before.attempts
    if (attempts <= 0) return this.#history
    this.#history = foldHistory(this.#history, {
      attempts,
      ok: totals.ok - before.ok,
      durationMs: totals.durationMs - before.durationMs,
    })
    return this.#history
  }

  #totals(): Totals {
    const totals: Totals = { attempts: 0, ok: 0, durationMs: 0 }
    for (const { labels, numbers } of this.#tally.seriesOf('muster_attempts_total')) {
      const count = numbers[0] ?? 0
      totals.attempts += count
      if (labels[1] === 'ok') totals.ok += count
    }
    const sumAt = metrics.muster_task_duration_seconds.buckets.length + 1
    for (const { numbers } of this.#tally.seriesOf('muster_task_duration_seconds')) {
      totals.durationMs += (numbers[sumAt] ?? 0) * 1000
    }
    return totals
  }
}
