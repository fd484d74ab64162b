/** The page `/inspect`: who there is, what state each is in, and what happens, live. */
import type { TreeNode } from '../../../../actors/tree.ts'
import { ChartView } from './chart-view.ts'
import { LogView } from './log-view.ts'
import { Actors } from './model.ts'
import { showNodes } from './nodes.ts'
import { openLine } from './socket.ts'
import { setText, sortOf, TreeView } from './tree-view.ts'

/** The tree is asked for so often: worker processes are told of in it alone. */
const treeEveryMs = 3000
/** After an actor came or went, others are about to. */
const treeSoonMs = 250

const actors = new Actors()
const log = new LogView(byId('log'))
const chart = new ChartView(byId('chart'))
const tree = new TreeView({ actors, element: byId('tree'), selected: () => chosen() })
let isPaintDue = false
let isLogNew = false
let treeSoon: ReturnType<typeof setTimeout> | undefined

const line = openLine({
  opened() {
    actors.forget()
    connected('live', 'badge live')
    askSoon()
    line.select(undefined)
  },
  heard(frame) {
    const { happening, path, isOther } = actors.hear(frame)
    if (happening !== undefined) {
      log.add(happening)
      isLogNew = true
    }
    if (isOther) askSoon()
    if (path === tree.path) line.select(actors.live(path)?.sessionId)
    paintSoon()
  },
  lost: () => connected('not connected', 'badge bad'),
})

function byId(id: string): HTMLElement {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`expected an element ${id}`)
  return element
}

function connected(words: string, sort: string): void {
  const badge = byId('connection')
  badge.className = sort
  setText(badge, words)
}

function askSoon(): void {
  treeSoon ??= setTimeout(() => {
    treeSoon = undefined
    void askTree()
  }, treeSoonMs)
}

async function askTree(): Promise<void> {
  try {
    const response = await fetch('/v1/tree')
    if (response.status === 401) location.assign('/login?next=/inspect')
    if (!response.ok) return
    actors.replaceTree((await response.json()) as TreeNode)
  } catch {
    // The node is away, which the socket says.
    return
  }
  tree.refresh()
  setText(byId('count'), `${actors.size}`)
  if (actors.find(tree.path) === undefined) {
    tree.select(actors.find(pathInUrl())?.path ?? actors.tree?.path ?? '')
  }
  paintSoon()
}

function pathInUrl(): string {
  return decodeURIComponent(location.hash.slice(1))
}

function chosen(): void {
  const { path } = tree
  history.replaceState(null, '', `#${encodeURI(path)}`)
  line.select(actors.live(path)?.sessionId)
  paint()
}

/** Once a frame at most, however much is heard. */
function paintSoon(): void {
  if (isPaintDue) return
  isPaintDue = true
  requestAnimationFrame(() => {
    isPaintDue = false
    paint()
  })
}

function paint(): void {
  tree.paint()
  if (isLogNew) log.paint()
  isLogNew = false
  const { missed } = actors
  setText(byId('missed'), missed === 0 ? '' : `${missed} more not shown`)
  const node = actors.find(tree.path)
  if (node === undefined) return
  const state = actors.stateOf(node)
  const machine = actors.machineOf(node.path)
  setText(byId('detail-title'), node.path)
  const badge = byId('state')
  badge.className = sortOf(state, false)
  setText(badge, state)
  showFacts(node, machine)
  const { lastError } = node
  byId('failure').hidden = lastError === undefined
  setText(byId('failure'), lastError === undefined ? '' : `Last failure: ${lastError}`)
  chart.show(machine, state)
  const context = actors.live(node.path)?.context
  byId('context').hidden = context === undefined
  if (context !== undefined) setText(byId('context-text'), JSON.stringify(context, null, 2))
}

function showFacts(node: TreeNode, machine: string | undefined): void {
  const { incarnation, restarts, pid, oldestMessageMs, heardMs } = node
  const facts: [string, string | number | undefined][] = [
    ['Machine', machine],
    ['Life', incarnation],
    ['Restarts', restarts],
    ['Process', pid],
    ['Oldest message', oldestMessageMs === undefined ? undefined : `${oldestMessageMs} ms`],
    ['Heard', heardMs === undefined ? undefined : `${heardMs} ms ago`],
  ]
  const text = JSON.stringify(facts)
  const list = byId('facts')
  if (list.dataset['shown'] === text) return
  list.dataset['shown'] = text
  list.replaceChildren(
    ...facts.flatMap(([name, value]) => {
      if (value === undefined) return []
      const [pair, term, words] = ['div', 'dt', 'dd'].map((tag) => document.createElement(tag))
      if (pair === undefined || term === undefined || words === undefined) return []
      term.textContent = name
      words.textContent = String(value)
      pair.append(term, words)
      return [pair]
    }),
  )
}

const filter = byId('filter') as HTMLInputElement
filter.addEventListener('input', () => {
  tree.filter(filter.value)
  log.filter(filter.value)
})
const pause = byId('pause')
pause.addEventListener('click', () => {
  const isPaused = pause.getAttribute('aria-pressed') !== 'true'
  pause.setAttribute('aria-pressed', String(isPaused))
  setText(pause, isPaused ? 'Go on' : 'Pause')
  log.pause(isPaused)
})
byId('clear').addEventListener('click', () => log.clear())
addEventListener('hashchange', () => tree.select(pathInUrl()))
setInterval(() => {
  if (document.visibilityState === 'visible') void askTree()
}, treeEveryMs)
void askTree()
void showNodes(byId('nodes'))
