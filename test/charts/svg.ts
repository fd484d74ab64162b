/** A laid-out chart as SVG: shapes and words only; colours are the page's. */
import type { ChartState } from './graph.ts'
import { type Layout, type PlacedEdge, type PlacedState, text } from './layout.ts'

export function svgOf(layout: Layout): string {
  const { chart, width, height, states, starts, edges } = layout
  const names = namesOf(chart.root).join(', ')
  const box = `0 0 ${round(width)} ${round(height)}`
  const size = `width="${round(width)}" height="${round(height)}" viewBox="${box}"`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-labelledby="chart-title">`,
    `<title id="chart-title">Statechart ${escape(chart.id)}: ${escape(names)}</title>`,
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" ' +
      'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto-start-reverse">' +
      '<path class="arrow" d="M0 0L8 4L0 8z"/></marker></defs>',
    ...states.map(stateSvg),
    ...starts.map(({ x, y }) => `<circle class="start" ${at('cx', x + 6, 'cy', y + 6)} r="5"/>`),
    ...edges.map(lineSvg),
    ...edges.flatMap(labelSvg),
    '</svg>',
    '',
  ].join('\n')
}

function namesOf({ states }: ChartState): string[] {
  return states.flatMap((state) => [state.path, ...namesOf(state)])
}

function stateSvg({ state, notes, x, y, width, height }: PlacedState): string {
  const size = `${at('x', x, 'y', y)} ${at('width', width, 'height', height)}`
  const left = x + text.padding
  const nameY = y + 7 + 13
  const inner =
    state.type === 'final'
      ? `<rect class="ring" ${at('x', x + 3, 'y', y + 3)} ` +
        `${at('width', width - 6, 'height', height - 6)} rx="6"/>`
      : ''
  const lines = notes.map(
    (note, index) =>
      `<text class="note" ${at('x', left, 'y', nameY + 4 + (index + 1) * text.lineHeight)}>` +
      `${escape(note)}</text>`,
  )
  const all = state.notes.length === 0 ? '' : `: ${state.notes.join(', ')}`
  return (
    `<g class="state ${state.type}" data-path="${escape(state.path)}">` +
    `<title>${escape(state.path === '' ? state.name : state.path)}${escape(all)}</title>` +
    `<rect ${size} rx="9"/>${inner}` +
    `<text class="name" ${at('x', left, 'y', nameY)}>${escape(state.name)}</text>` +
    `${lines.join('')}</g>`
  )
}

function lineSvg({ points, edge }: PlacedEdge): string {
  const [first, ...rest] = points
  if (first === undefined) return ''
  const line = rest.map(({ x, y }) => `L${round(x)} ${round(y)}`).join('')
  const d = `M${round(first.x)} ${round(first.y)}${line}`
  const ends = `data-from="${escape(edge.from)}" data-to="${escape(edge.to)}"`
  return `<path class="edge" ${ends} d="${d}" marker-end="url(#arrow)"/>`
}

function labelSvg({ label, edge }: PlacedEdge): string[] {
  if (label === undefined) return []
  const middle = label.x + label.width / 2
  const lines = label.lines.map(
    (line, index) =>
      `<tspan ${at('x', middle, 'y', label.y + 12 + index * text.lineHeight)}>` +
      `${escape(line)}</tspan>`,
  )
  const title = `<title>${escape(edge.words.join(', '))}</title>`
  return [`<text class="label">${title}${lines.join('')}</text>`]
}

function at(first: string, x: number, second: string, y: number): string {
  return `${first}="${round(x)}" ${second}="${round(y)}"`
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10)
}

function escape(words: string): string {
  return words
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
