/** Names in the order of their deadlines, as a heap: thousands of them, and one timer. */

export class Deadlines {
  #heap: { at: number; id: string }[] = []

  /** The first one. */
  get next(): number | undefined {
    return this.#heap[0]?.at
  }

  get size(): number {
    return this.#heap.length
  }

  add(at: number, id: string): void {
    const heap = this.#heap
    let index = heap.push({ at, id }) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || above.at <= at) break
      heap[index] = above
      heap[parent] = { at, id }
      index = parent
    }
  }

  /** Takes out the earliest of those that are due by then. */
  take(by: number): string | undefined {
    const first = this.#heap[0]
    if (first === undefined || first.at > by) return undefined
    this.#removeFirst()
    return first.id
  }

  keep(isKept: (id: string) => boolean): void {
    // Sorted is a heap as well.
    this.#heap = this.#heap.filter(({ id }) => isKept(id)).toSorted((a, b) => a.at - b.at)
  }

  clear(): void {
    this.#heap = []
  }

  #removeFirst(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      const right = heap[child + 1]
      if (right !== undefined && right.at < (heap[child]?.at ?? Number.POSITIVE_INFINITY)) {
        child += 1
      }
      const below = heap[child]
      if (below === undefined || below.at >= last.at) break
      heap[index] = below
      index = child
    }
    heap[index] = last
  }
}
