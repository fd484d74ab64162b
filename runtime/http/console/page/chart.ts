/** A number over the last minutes, as a line. */
import { type Described, h } from './dom.ts'

export interface ChartOptions {
  title: string
  /** What is measured, and where. */
  about: string
  /** Oldest first, one a second; null: there was nothing to measure. */
  values: readonly (number | null)[]
  format(value: number): string
  /** A top that is too low would make noise look like news. */
  atLeast: number
  /** In place of a number, where there is none now. */
  none: string
}

const width = 300
const height = 64
/** Seconds that are shown at least; more, as far as there are any. */
const spanMin = 60
/** A value stands for so many seconds after it without one. */
const carried = 5

export function chart(options: ChartOptions): Described {
  const { title, about, format, atLeast, none } = options
  const values = carry(options.values)
  const known = values.filter((value) => value !== null)
  const last = values.at(-1) ?? null
  const highest = Math.max(0, ...known)
  const span = Math.max(spanMin, values.length)
  const top = roundUp(Math.max(atLeast, highest))
  const now = last === null ? none : format(last)
  const said =
    known.length === 0
      ? `${title}: nothing measured yet`
      : `${title}: ${now} now, ${format(highest)} at most in the last ${minutes(span)}`
  const { line, area } = pathsOf(values, top, span)
  return h(
    'figure',
    { key: title, class: 'chart' },
    h(
      'figcaption',
      null,
      h('span', { class: 'title' }, title),
      h('span', { class: 'muted' }, about),
    ),
    h('div', { class: last === null ? 'now muted' : 'now' }, now),
    h(
      'svg',
      {
        role: 'img',
        'aria-label': said,
        viewBox: `0 0 ${width} ${height}`,
        preserveAspectRatio: 'none',
      },
      h('line', { class: 'grid', x1: 0, x2: width, y1: 1, y2: 1 }),
      h('line', { class: 'grid', x1: 0, x2: width, y1: height / 2, y2: height / 2 }),
      h('line', { class: 'base', x1: 0, x2: width, y1: height - 1, y2: height - 1 }),
      h('path', { class: 'area', d: area }),
      h('path', { class: 'line', d: line }),
    ),
    h(
      'div',
      { class: 'scale muted', 'aria-hidden': 'true' },
      h('span', null, `${minutes(span)} ago`),
      h('span', null, `top ${format(top)}`),
      h('span', null, 'now'),
    ),
  )
}

function carry(values: readonly (number | null)[]): (number | null)[] {
  let last: number | null = null
  let age = 0
  return values.map((value) => {
    age = value === null ? age + 1 : 0
    if (value !== null || age > carried) last = value
    return last
  })
}

/** The newest at the right; a second without a value is a gap. */
function pathsOf(
  values: readonly (number | null)[],
  top: number,
  span: number,
): { line: string; area: string } {
  let line = ''
  let area = ''
  let begun: number | undefined
  const xOf = (index: number) =>
    Math.round(10 * (width - ((values.length - 1 - index) * width) / (span - 1))) / 10
  const close = (index: number) => {
    if (begun === undefined) return
    area += `V${height}H${begun}Z`
    // A single value would be a line without length.
    if (xOf(index) === begun) line += 'h1'
    begun = undefined
  }
  values.forEach((value, index) => {
    if (value === null) {
      close(index - 1)
      return
    }
    const x = xOf(index)
    const y = Math.round(10 * (height - 1 - ((height - 3) * value) / top)) / 10
    line += `${begun === undefined ? 'M' : 'L'}${x} ${y}`
    area += begun === undefined ? `M${x} ${height}V${y}` : `L${x} ${y}`
    begun ??= x
  })
  close(values.length - 1)
  return { line, area }
}

/** To 1, 2 or 5 times a power of ten: the scale stands still while values move. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  const step = [1, 2, 5, 10].find((factor) => value <= factor * power) ?? 10
  return step * power
}

function minutes(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
}
