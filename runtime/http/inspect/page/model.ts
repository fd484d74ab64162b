/** The actors as the page knows them: the tree as last asked for, and what was heard since. */
import type { TreeNode } from '../../../../actors/tree.ts'
import type { Frame } from './frame.ts'

/** An actor of the node's own process, which is heard of live. */
export interface Live {
  sessionId: string
  path: string
  machine: string | undefined
  status: string
  value: unknown
  context: unknown
  error: unknown
}

export interface Row {
  node: TreeNode
  level: number
  /** Among its siblings, from 1. */
  place: number
  siblings: number
  fold: 'open' | 'closed' | undefined
}

export interface Happening {
  at: number
  type: string
  path: string
  source: string | undefined
  /** How many more of the same actor were not told. */
  more: number
}

/** Above so many actors only the upper levels are unfolded at first. */
const unfoldedMax = 150

export class Actors {
  tree: TreeNode | undefined
  /** Messages that the node had no room to tell of. */
  missed = 0
  readonly #bySession = new Map<string, Live>()
  readonly #byPath = new Map<string, Live>()
  readonly #folds = new Map<string, boolean>()
  #size = 0

  /** Nothing of an earlier connection holds any more: sessions are numbered anew. */
  forget(): void {
    this.#bySession.clear()
    this.#byPath.clear()
  }

  replaceTree(tree: TreeNode): void {
    this.tree = tree
    this.#size = countOf(tree)
  }

  get size(): number {
    return this.#size
  }

  /** @returns what happened, if it is news for the log; and whether an actor came or went */
  hear(frame: Frame): { happening?: Happening; path: string | undefined; isOther: boolean } {
    const { type, sessionId, snapshot } = frame
    if (type === '@xstate.event') return this.#hearEvent(frame)
    const known = this.#bySession.get(sessionId)
    const path = frame.path ?? known?.path
    if (path === undefined || snapshot === undefined) return { path, isOther: false }
    const { status, value, context, error } = snapshot
    const machine = frame.machine ?? known?.machine
    const live = { sessionId, path, machine, status, value, context, error }
    if (status === 'active') this.#bySession.set(sessionId, live)
    else this.#bySession.delete(sessionId)
    // The next life of the same actor may have been told of already.
    const isLater = (this.#byPath.get(path)?.sessionId ?? sessionId) !== sessionId
    if (!isLater || type === '@xstate.actor') this.#byPath.set(path, live)
    return { path, isOther: machine !== undefined && (known === undefined || status !== 'active') }
  }

  #hearEvent({ sessionId, sourceId, createdAt, event, unseen: more = 0, dropped = 0 }: Frame) {
    this.missed += more + dropped
    const path = this.#bySession.get(sessionId)?.path
    if (path === undefined || event === undefined) return { path, isOther: false }
    const source = sourceId === undefined ? undefined : this.#bySession.get(sourceId)?.path
    const happening = { at: Number(createdAt), type: event.type, path, source, more }
    return { happening, path, isOther: false }
  }

  live(path: string): Live | undefined {
    return this.#byPath.get(path)
  }

  /** What is heard live counts; of worker processes, and of who is not there, the tree tells. */
  stateOf({ path, state }: TreeNode): string {
    const live = this.#byPath.get(path)
    return live?.status === 'active' && live.value !== undefined ? wordsOf(live.value) : state
  }

  /** Which chart is of an actor; that of one in another process is known by those of this one. */
  machineOf(path: string): string | undefined {
    const live = this.#byPath.get(path)
    if (live !== undefined) return live.machine
    const [id = '', parent = ''] = path.split('/').toReversed()
    if (parent === 'workers') return 'worker'
    if (id === 'workers') return 'supervisor'
    const alike = [...this.#byPath.values()].find((other) => other.path.endsWith(`/${id}`))
    return alike?.machine
  }

  find(path: string): TreeNode | undefined {
    let node = this.tree
    while (node !== undefined && node.path !== path) {
      node = node.children.find((child) => path === child.path || path.startsWith(`${child.path}/`))
    }
    return node
  }

  toggle(path: string, isOpen: boolean): void {
    this.#folds.set(path, isOpen)
  }

  isOpen({ path }: TreeNode, level: number): boolean {
    return this.#folds.get(path) ?? (this.#size <= unfoldedMax || level < 2)
  }

  /** What is to be seen: all that is unfolded, or the way to all that matches. */
  rows(filter: string): Row[] {
    const rows: Row[] = []
    if (this.tree === undefined) return rows
    const wanted = filter.trim().toLowerCase()
    const matching = wanted === '' ? undefined : matchesOf(this.tree, wanted)
    const visit = (node: TreeNode, level: number, place: number, siblings: number) => {
      const { children } = node
      const shown =
        matching === undefined ? children : children.filter((child) => matching.has(child.path))
      const isOpen = matching === undefined ? this.isOpen(node, level) : true
      const fold = shown.length === 0 ? undefined : isOpen ? 'open' : 'closed'
      rows.push({ node, level, place, siblings, fold })
      if (!isOpen) return
      for (const [index, child] of shown.entries()) visit(child, level + 1, index + 1, shown.length)
    }
    if (matching === undefined || matching.has(this.tree.path)) visit(this.tree, 1, 1, 1)
    return rows
  }
}

function countOf({ children }: TreeNode): number {
  return children.reduce((sum, child) => sum + countOf(child), 1)
}

/** Those whose path matches, and those above them. */
function matchesOf(tree: TreeNode, wanted: string): Set<string> {
  const found = new Set<string>()
  const visit = (node: TreeNode): boolean => {
    const below = node.children.map(visit).some(Boolean)
    const isFound = below || node.path.toLowerCase().includes(wanted)
    if (isFound) found.add(node.path)
    return isFound
  }
  visit(tree)
  return found
}

/** `receiving.busy`; regions with commas between: as the tree of the node says it. */
function wordsOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .map(([region, inner]) => `${region}.${wordsOf(inner)}`)
    .join(',')
}

/**
 * Paths of all states that are active, the outer ones too; '' is the machine itself.
 * @param known all paths of the machine: words leave out what several regions are in
 */
export function activeOf(words: string, known: readonly string[]): Set<string> {
  const active = new Set([''])
  for (const leaf of words.split(',')) {
    const path = known.find((each) => each === leaf || each.endsWith(`.${leaf}`)) ?? leaf
    const parts = path.split('.')
    for (let length = 1; length <= parts.length; length += 1) {
      active.add(parts.slice(0, length).join('.'))
    }
  }
  return active
}
