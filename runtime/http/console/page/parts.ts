/** What several views show alike. */
import type { RunState } from '../../../../actors/ports-runs.ts'
import { type Counts, type Outcome, outcomes } from '../../../../machines/outcome.ts'
import type { RunBrief } from '../wire.ts'
import { type Child, type Described, h } from './dom.ts'
import { count, percent } from './format.ts'
import { link } from './route.ts'

type Tone = 'live' | 'warn' | 'bad' | ''

export function badge(text: string, tone: Tone = ''): Described {
  return h('span', { class: `badge ${tone}` }, text)
}

const runTones: Record<RunState, Tone> = {
  accepting: 'live',
  running: 'live',
  paused: 'warn',
  completed: '',
  cancelled: '',
  halted: 'bad',
}

export function runBadge({ state, counts, total }: RunBrief): Described {
  if (state === 'completed' && counts.ok === total) return badge('completed', 'live')
  return badge(state, state === 'completed' ? 'warn' : runTones[state])
}

export function outcomeBadge(outcome: Outcome): Described {
  return h('span', { class: 'outcome' }, swatch(outcome), outcome)
}

const parts = [...outcomes, 'pending'] as const

function swatch(part: Outcome | 'pending'): Described {
  return h(
    'svg',
    { class: 'swatch', viewBox: '0 0 10 10', 'aria-hidden': 'true' },
    h('rect', { class: `fill-${part}`, width: 10, height: 10, rx: 2 }),
  )
}

/** All of a run in one bar: the seven outcomes and what is pending. */
export function bar({ counts, total }: Pick<RunBrief, 'counts' | 'total'>): Described {
  let x = 0
  const rects = parts.map((part) => {
    // What is there at all is seen.
    const exact = total === 0 ? 0 : (1000 * counts[part]) / total
    const width = exact > 0 ? Math.max(4, exact) : 0
    const rect = h('rect', { key: part, class: `fill-${part}`, x, y: 0, width, height: 10 })
    x += width
    return rect
  })
  const said = parts
    .filter((part) => counts[part] > 0)
    .map((part) => `${count(counts[part])} ${part}`)
  const label = total === 0 ? 'no tasks yet' : `${said.join(', ')}; of ${count(total)} tasks`
  const viewBox = `0 0 ${Math.max(1000, x)} 10`
  return h(
    'svg',
    { class: 'bar', role: 'img', 'aria-label': label, viewBox, preserveAspectRatio: 'none' },
    rects,
  )
}

/** The numbers of the bar, and that they are all there are. */
export function legend(run: RunBrief, chosen: Outcome | undefined): Described {
  const item = (part: Outcome | 'pending') => {
    const amount = run.counts[part]
    const words = [
      swatch(part),
      h('span', { class: 'name' }, part),
      h('span', { class: 'amount' }, count(amount)),
      h('span', { class: 'muted share' }, percent(amount, run.total)),
    ]
    if (part === 'pending' || amount === 0) {
      return h('li', { key: part, class: amount === 0 ? 'none' : '' }, h('span', null, words))
    }
    const isChosen = part === chosen
    const href = link(['runs', run.id], isChosen ? {} : { outcome: part })
    return h('li', { key: part }, h('a', { href, 'aria-current': isChosen ? 'true' : null }, words))
  }
  return h('ul', { class: 'legend', 'aria-label': 'Tasks by outcome' }, parts.map(item))
}

export function sumOf(counts: Counts): number {
  return parts.reduce((sum, part) => sum + counts[part], 0)
}

export function doneOf({ total, counts }: RunBrief): number {
  return total - counts.pending
}

export function badOf({ counts }: RunBrief): number {
  return counts.failed + counts.timeout + counts.dead + counts.unreached + counts.expired
}

export function panel(title: string, about: Child, ...children: readonly Child[]): Described {
  const id = `panel-${title.toLowerCase().replaceAll(' ', '-')}`
  return h(
    'section',
    { key: id, class: 'panel', 'aria-labelledby': id },
    h(
      'div',
      { class: 'panel-head' },
      h('h2', { id }, title),
      h('div', { class: 'actions' }, about),
    ),
    children,
  )
}

/** Nothing there, and what would change that. */
export function empty(text: string, command?: string): Described {
  return h(
    'div',
    { class: 'empty' },
    h('p', null, text),
    command === undefined ? null : h('pre', { class: 'command' }, h('code', null, command)),
  )
}

export function trouble(text: string | undefined): Described | null {
  if (text === undefined) return null
  return h('p', { key: 'trouble', class: 'trouble', role: 'alert' }, text)
}

export interface Column<Row> {
  title: string
  isNumber?: boolean
  /** The heading of its row, for those who do not see it. */
  isHead?: boolean
  cell(row: Row): Child
}

/** On a narrow screen each row is a card, whose cells bring their own headings. */
export function table<Row>(
  caption: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  keyOf: (row: Row) => string,
  name = '',
): Described {
  const heads = columns.map(({ title, isNumber }) =>
    h('th', { scope: 'col', class: isNumber === true ? 'number' : '' }, title),
  )
  const body = rows.map((row) =>
    h(
      'tr',
      { key: keyOf(row), role: 'row' },
      columns.map(({ title, isNumber, isHead, cell }) =>
        h(
          isHead === true ? 'th' : 'td',
          {
            class: isNumber === true ? 'number' : '',
            'data-title': title,
            role: isHead === true ? 'rowheader' : 'cell',
            ...(isHead === true ? { scope: 'row' } : {}),
          },
          cell(row),
        ),
      ),
    ),
  )
  // The roles are those that they have anyway, and lose where they are shown as cards.
  return h(
    'table',
    { class: `cards ${name}`, role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, heads)),
    h('tbody', { role: 'rowgroup' }, body),
  )
}

export function button(
  text: string,
  onclick: () => void,
  {
    tone = '',
    disabled = false,
    title,
  }: { tone?: string; disabled?: boolean; title?: string } = {},
): Described {
  // One that may not be used can still be reached, and says why.
  return h(
    'button',
    {
      type: 'button',
      class: tone,
      'aria-disabled': disabled ? 'true' : null,
      title: title ?? null,
      onclick: () => {
        if (!disabled) onclick()
      },
    },
    text,
  )
}
