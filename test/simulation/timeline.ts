/**
 * The one true time of a simulation: things happen in its order, each with all that follows from it
 * before the next. Nothing waits, so a minute takes a moment.
 */

interface Happening {
  atMs: number
  order: number
  run: () => void
}

export class Timeline {
  nowMs = 0
  #heap: Happening[] = []
  #orders = 0

  /** Calls `run` that much later. */
  after(delayMs: number, run: () => void): void {
    this.#orders += 1
    this.#push({ atMs: this.nowMs + Math.max(0, delayMs), order: this.#orders, run })
  }

  /** Lets time pass up to `untilMs`; `look` is called after everything that happened. */
  async pass(untilMs: number, look: () => void): Promise<void> {
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; ) {
      this.#pop()
      this.nowMs = next.atMs
      next.run()
      // Every chain of promises is through after one turn.
      await new Promise<void>((resolve) => setImmediate(resolve))
      look()
      next = this.#heap[0]
    }
    this.nowMs = untilMs
    look()
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
