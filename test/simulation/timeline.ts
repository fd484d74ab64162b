/**
 * The one true time of a simulation: things happen in its order, each with all that follows from it
 * before the next. Nothing waits, so a minute takes a moment.
 */

interface Happening {
  atMs: number
  order: number
  run: (() => void) | undefined
}

export class Timeline {
  nowMs = 0
  #heap: Happening[] = []
  #orders = 0

  /** Calls `run` that much later, unless what is returned is called before. */
  after(delayMs: number, run: () => void): () => void {
    this.#orders += 1
    const atMs = this.nowMs + Math.max(0, delayMs)
    const happening: Happening = { atMs, order: this.#orders, run }
    this.#push(happening)
    return () => {
      happening.run = undefined
    }
  }

  /** Lets time pass up to `untilMs`; `look` is called after everything that happened. */
  async pass(untilMs: number, look: () => void): Promise<void> {
    for (let next = this.#nextBy(untilMs); next !== undefined; next = this.#nextBy(untilMs)) {
      if (next.run === undefined) continue
      this.nowMs = next.atMs
      next.run()
      // Every chain of promises is through after one turn.
      await new Promise<void>((resolve) => setImmediate(resolve))
      look()
    }
    this.nowMs = untilMs
    look()
  }

  #nextBy(untilMs: number): Happening | undefined {
    const next = this.#heap[0]
    if (next === undefined || next.atMs > untilMs) return undefined
    this.#pop()
    return next
  }

  #push(happening: Happening): void {
    const heap = this.#heap
    let index = heap.push(happening) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (isBefore(heap[parent], happening)) break
      heap[index] = heap[parent] as Happening
      index = parent
    }
    heap[index] = happening
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      const left = 2 * index + 1
      if (left >= heap.length) break
      const child = isBefore(heap[left + 1], heap[left]) ? left + 1 : left
      if (isBefore(last, heap[child])) break
      heap[index] = heap[child] as Happening
      index = child
    }
    heap[index] = last
  }
}

/** Of two at the same time the one that was asked for first. */
function isBefore(one: Happening | undefined, other: Happening | undefined): boolean {
  if (one === undefined) return false
  if (other === undefined) return true
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order)
}
