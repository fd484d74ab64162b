/** What is drawn of a machine: its states one in the other, and what leads from one to another. */
import type { AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from 'xstate'

export interface ChartState {
  /** As in a snapshot's value, with dots; empty for the machine itself. */
  path: string
  name: string
  type: 'plain' | 'parallel' | 'final'
  /** What is done there, and what is taken note of without leaving it; one word or two each. */
  notes: string[]
  initial?: string
  states: ChartState[]
}

export interface ChartEdge {
  from: string
  to: string
  words: string[]
}

export interface Chart {
  id: string
  root: ChartState
  edges: ChartEdge[]
}

export function chartOf(machine: AnyStateMachine): Chart {
  const edges = new Map<string, ChartEdge>()
  const root = stateOf(machine.root, edges)
  return { id: machine.id, root: { ...root, name: machine.id }, edges: [...edges.values()] }
}

function stateOf(node: AnyStateNode, edges: Map<string, ChartEdge>): ChartState {
  const path = pathOf(node)
  const notes = node.invoke.map(({ src }) => `does ${typeof src === 'string' ? src : 'work'}`)
  for (const transition of [...(node.always ?? []), ...[...node.transitions.values()].flat()]) {
    const words = wordsOf(transition, node)
    const targets = transition.target ?? []
    if (targets.length === 0 && words !== '') notes.push(words)
    for (const target of targets) {
      const to = pathOf(target)
      const key = `${path}|${to}`
      const edge = edges.get(key) ?? { from: path, to, words: [] }
      if (words !== '' && !edge.words.includes(words)) edge.words.push(words)
      edges.set(key, edge)
    }
  }
  const initial = node.initial?.target?.[0]
  return {
    path,
    name: node.key,
    type: node.type === 'final' || node.type === 'parallel' ? node.type : 'plain',
    notes: [...new Set(notes)],
    ...(initial === undefined || node.type === 'parallel' ? {} : { initial: pathOf(initial) }),
    states: Object.values(node.states).map((child) => stateOf(child, edges)),
  }
}

function pathOf(node: AnyStateNode): string {
  return node.path.join('.')
}

/** `stop`, `done [isIdle]`, `after abortMs`; just the guard where no event is needed. */
function wordsOf({ eventType, guard }: AnyTransitionDefinition, node: AnyStateNode): string {
  const condition = guard === undefined ? '' : `[${guardName(guard)}]`
  const event = String(eventType)
    .replace(/^xstate\.after\.(.*)$/, (_, rest: string) => `after ${delayName(rest, node.id)}`)
    .replace(/^xstate\.done\.actor\..*$/, 'done')
    .replace(/^xstate\.error\.actor\.\*$/, 'a child fails')
    .replace(/^xstate\.error\.actor\..*$/, 'failed')
    .replace(/^xstate\.done\.state\..*$/, 'all done')
    .replace(/^xstate\.snapshot\..*$/, 'news')
  return [event, condition].filter((word) => word !== '').join(' ')
}

function delayName(rest: string, id: string): string {
  return rest.endsWith(`.${id}`) ? rest.slice(0, -id.length - 1) : rest
}

function guardName(guard: unknown): string {
  if (typeof guard === 'string') return guard
  if (typeof guard === 'object' && guard !== null && 'type' in guard) return String(guard.type)
  if (typeof guard !== 'function') return 'if'
  const { guards } = guard as { guards?: readonly unknown[] }
  const { name } = guard.constructor === Function ? guard : { name: '' }
  // What `and`, `or` and `not` of XState give back tell of their parts.
  const parts = guards?.map(guardName) ?? []
  if (parts.length === 1) return `not ${parts[0]}`
  if (parts.length > 1) return parts.join(name === 'or' ? ' or ' : ' and ')
  return name === '' || name === 'guard' ? 'if' : name
}
