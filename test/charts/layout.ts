/** Where everything of a chart stands: elkjs lays it out, once, when the machines change. */
import ELK, { type ElkExtendedEdge, type ElkNode } from 'elkjs/lib/elk.bundled.js'
import type { Chart, ChartEdge, ChartState } from './graph.ts'

/** Of the monospaced text in a chart: what a character takes, and a line. */
export const text = { charWidth: 7.3, lineHeight: 16, nameHeight: 18, padding: 10 }
/** In one label, and in the notes of a state. */
const linesMax = 5
const charsMax = 34

export interface Placed {
  x: number
  y: number
  width: number
  height: number
}

export interface PlacedState extends Placed {
  state: ChartState
  notes: string[]
}

export interface PlacedEdge {
  edge: ChartEdge
  points: { x: number; y: number }[]
  label?: Placed & { lines: string[] }
}

export interface Layout extends Placed {
  chart: Chart
  states: PlacedState[]
  /** Where each compound state begins. */
  starts: Placed[]
  edges: PlacedEdge[]
}

const options = {
  'elk.algorithm': 'layered',
  'elk.hierarchyHandling': 'INCLUDE_CHILDREN',
  'elk.json.shapeCoords': 'ROOT',
  'elk.json.edgeCoords': 'ROOT',
  'elk.layered.cycleBreaking.strategy': 'DEPTH_FIRST',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.spacing.nodeNode': '28',
  'elk.layered.spacing.nodeNodeBetweenLayers': '36',
  'elk.spacing.edgeNode': '16',
  'elk.spacing.edgeEdge': '12',
  'elk.layered.spacing.edgeNodeBetweenLayers': '16',
  'elk.spacing.edgeLabel': '4',
  'elk.direction': 'DOWN',
}

const startPrefix = 'start:'

export async function layOut(chart: Chart): Promise<Layout> {
  const edges: ElkExtendedEdge[] = []
  const top = nodeOf(chart.root, edges)
  for (const [index, edge] of chart.edges.entries()) edges.push(edgeOf(edge, `edge:${index}`))
  const graph = { id: 'graph', layoutOptions: options, children: [top], edges }
  const placed: ElkNode = await new ELK().layout(graph)
  // It listens like a worker thread, of which there is none here, and so would keep the process.
  Reflect.set(globalThis, 'onmessage', null)
  const states: PlacedState[] = []
  const starts: Placed[] = []
  collect(placed.children?.[0], chart.root, states, starts)
  const drawn = (placed.edges ?? []).map((found) => placedEdge(found, chart))
  return { chart, ...boxOf(placed), states, starts, edges: drawn }
}

/** A state's name, and what is noted below it, in lines that fit. */
function notesOf({ notes }: ChartState): string[] {
  const lines: string[] = []
  for (const note of notes) {
    const last = lines.at(-1)
    const joined = last === undefined ? note : `${last} · ${note}`
    if (last !== undefined && joined.length <= charsMax) lines[lines.length - 1] = joined
    else lines.push(cut(note))
  }
  return fewLines(lines)
}

function nodeOf(state: ChartState, edges: ElkExtendedEdge[]): ElkNode {
  const notes = notesOf(state)
  const chars = Math.max(state.name.length + 1, ...notes.map(({ length }) => length))
  const width = Math.max(70, chars * text.charWidth + 2 * text.padding)
  const noteHeight = notes.length === 0 ? 0 : notes.length * text.lineHeight + 4
  const height = text.nameHeight + noteHeight + 2 * 7
  const id = idOf(state.path)
  if (state.states.length === 0) return { id, width, height }
  const children = state.states.map((child) => nodeOf(child, edges))
  if (state.initial !== undefined) {
    const start = startPrefix + state.path
    children.unshift({ id: start, width: 12, height: 12 })
    edges.push({ id: `of-${start}`, sources: [start], targets: [idOf(state.initial)] })
  }
  const layoutOptions = {
    'elk.padding': `[top=${height + 10},left=18,bottom=18,right=18]`,
    'elk.nodeSize.constraints': 'MINIMUM_SIZE',
    'elk.nodeSize.minimum': `(${width},${height})`,
    'elk.direction': 'DOWN',
  }
  return { id, children, layoutOptions }
}

function edgeOf({ from, to, words }: ChartEdge, id: string): ElkExtendedEdge {
  const lines = fewLines(words.map(cut))
  const chars = Math.max(0, ...lines.map(({ length }) => length))
  const labels = [
    {
      id: `label:${id}`,
      text: lines.join('\n'),
      width: chars * text.charWidth + 6,
      height: lines.length * text.lineHeight,
    },
  ]
  const ends = { sources: [idOf(from)], targets: [idOf(to)] }
  return lines.length === 0 ? { id, ...ends } : { id, ...ends, labels }
}

function collect(
  node: ElkNode | undefined,
  state: ChartState,
  states: PlacedState[],
  starts: Placed[],
): void {
  if (node === undefined) return
  states.push({ state, notes: notesOf(state), ...boxOf(node) })
  for (const child of node.children ?? []) {
    if (child.id.startsWith(startPrefix)) starts.push(boxOf(child))
    const inner = state.states.find(({ path }) => idOf(path) === child.id)
    if (inner !== undefined) collect(child, inner, states, starts)
  }
}

function placedEdge(found: ElkExtendedEdge, chart: Chart): PlacedEdge {
  const points = (found.sections ?? []).flatMap(({ startPoint, bendPoints = [], endPoint }) =>
    [startPoint].concat(bendPoints, endPoint),
  )
  const index = /^edge:(\d+)$/.exec(found.id)?.[1]
  const edge = chart.edges[Number(index ?? -1)] ?? { from: '', to: '', words: [] }
  const [label] = found.labels ?? []
  if (label === undefined) return { edge, points }
  return { edge, points, label: { ...boxOf(label), lines: (label.text ?? '').split('\n') } }
}

function boxOf({ x = 0, y = 0, width = 0, height = 0 }: Partial<Placed>): Placed {
  return { x, y, width, height }
}

function idOf(path: string): string {
  return `state:${path}`
}

function cut(words: string): string {
  return words.length > charsMax ? `${words.slice(0, charsMax - 1)}…` : words
}

function fewLines(lines: string[]): string[] {
  if (lines.length <= linesMax) return lines
  return [...lines.slice(0, linesMax - 1), `and ${lines.length - linesMax + 1} more`]
}
