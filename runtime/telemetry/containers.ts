/** Counts the sandboxes of this process, and reads those of its worker processes with them. */
import type { PoolMeter } from '../../actors/pool-meter.ts'
import type { PoolCounts } from '../../machines/pool-steps.ts'
import type { Tally } from './tally.ts'

export class ContainerMeter implements PoolMeter {
  readonly #tally: Tally
  #own: (() => PoolCounts) | undefined
  /** Of each living worker process. */
  readonly #others = new Map<object, PoolCounts>()

  constructor(tally: Tally) {
    this.#tally = tally
  }

  /** Undefined as long as there was no task that needs one. */
  counts(): PoolCounts | undefined {
    const own = this.#own?.()
    const all = [...this.#others.values(), ...(own === undefined ? [] : [own])]
    return all.length === 0 ? undefined : all.reduce(sumOf)
  }

  /** @param counts what the process has said of itself; undefined: it is gone, or has none */
  told(from: object, counts: PoolCounts | undefined): void {
    if (counts === undefined) this.#others.delete(from)
    else this.#others.set(from, counts)
  }

  watched(counts: () => PoolCounts): void {
    this.#own = counts
  }

  checkedOut(waitedMs: number): void {
    this.#tally.observe('muster_container_checkout_seconds', [], waitedMs / 1000)
  }

  refused(code: string): void {
    this.#tally.add('muster_container_refused_total', [code])
  }

  reset(isClean: boolean): void {
    this.#tally.add('muster_container_resets_total', [isClean ? 'ok' : 'failed'])
  }

  unmade(): void {
    this.#tally.add('muster_container_make_failures_total', [])
  }
}

function sumOf(one: PoolCounts, other: PoolCounts): PoolCounts {
  return {
    total: one.total + other.total,
    available: one.available + other.available,
    leased: one.leased + other.leased,
    resetting: one.resetting + other.resetting,
    replacing: one.replacing + other.replacing,
    waiting: one.waiting + other.waiting,
  }
}
