/** The state of the system: why, what it means, and how it came to that. */
import type { SystemEntry } from '../../../../actors/ports-system.ts'
import type { SystemView } from '../../../../actors/system-record.ts'
import { type SystemState, successorsOf } from '../../../../machines/system-rules.ts'
import type { ConsoleView } from '../wire.ts'
import { changeState } from './actions.ts'
import { type Child, type Described, h } from './dom.ts'
import { ago, dayOf, timeOf } from './format.ts'
import { use } from './loader.ts'
import { badge, empty, panel, table, trouble } from './parts.ts'
import { link, type Route } from './route.ts'

const pageSize = 50
const tones = {
  PAUSED: 'warn',
  RECOVERY: 'warn',
  OPERATIONAL: 'live',
  DEGRADED: 'bad',
  REFLECTIVE: 'warn',
} as const

export function stateBadge(state: SystemState): Described {
  return badge(state, tones[state])
}

export function systemView({ system }: ConsoleView, { query }: Route, now: number): Child {
  const after = query.get('after') ?? undefined
  const asked = new URLSearchParams({ limit: String(pageSize) })
  if (after !== undefined) asked.set('after', after)
  const path = `/v1/system/history?${asked}`
  const version = system === null ? '' : `${system.state} ${system.since}`
  const { data, error } = use(
    path,
    (body) => body as { items: SystemEntry[]; next?: string },
    version,
  )
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, 'System state'),
    system !== null && stateNow(system, now),
    panel(
      'History',
      null,
      trouble(error),
      data === undefined
        ? error === undefined && h('p', { class: 'muted' }, 'Loading…')
        : data.items.length === 0
          ? empty('Nothing has changed yet.')
          : historyTable(data.items),
      h(
        'nav',
        { class: 'pager', 'aria-label': 'Pages' },
        after !== undefined && h('a', { href: link(['system']) }, '« Newest'),
        data?.next !== undefined &&
          h('a', { href: link(['system'], { after: data.next }) }, 'Older »'),
      ),
    ),
  ]
}

function stateNow(
  { state, reason, actor, since, effect, note, diagnosis }: SystemView,
  now: number,
): Child {
  const share = (part: number) => `${Math.round(part * 100)} %`
  return panel(
    'Now',
    [
      h('span', { class: 'muted' }, 'Change to'),
      successorsOf(state).map((to) => h('span', { key: to }, changeState(to))),
    ],
    h(
      'dl',
      { class: 'facts' },
      h('div', null, h('dt', null, 'State'), h('dd', null, stateBadge(state))),
      h('div', null, h('dt', null, 'Since'), h('dd', null, `${timeOf(since)}, ${ago(since, now)}`)),
      h('div', null, h('dt', null, 'Why'), h('dd', null, `${reason} (${actor})`)),
      h(
        'div',
        null,
        h('dt', null, 'Works with'),
        h(
          'dd',
          null,
          `${share(effect.admission)} of the rate, ${share(effect.concurrency)} of the concurrency`,
        ),
      ),
    ),
    note !== undefined && h('p', { class: 'muted' }, note),
    diagnosis !== undefined && [
      h('h3', null, `Last reflection: health ${Math.round(diagnosis.health * 100)} %`),
      h(
        'ul',
        { class: 'findings' },
        diagnosis.findings.map(({ severity, what }) =>
          h('li', { key: what }, badge(severity, severityTones[severity]), ' ', what),
        ),
      ),
    ],
  )
}

const severityTones = { info: '', warning: 'warn', error: 'bad', critical: 'bad' } as const

function historyTable(entries: readonly SystemEntry[]): Described {
  return table<SystemEntry>(
    'Changes of state, newest first',
    [
      { title: 'When', isHead: true, cell: ({ at }) => dayOf(at) },
      { title: 'Node', cell: ({ node }) => h('span', { class: 'mono' }, node) },
      {
        title: 'Change',
        cell: ({ from, to, noop }) =>
          noop === true ? [stateBadge(to), ' (was so)'] : [stateBadge(from), ' → ', stateBadge(to)],
      },
      { title: 'Why', cell: ({ reason }) => reason },
      { title: 'Who', cell: ({ actor }) => actor },
    ],
    entries,
    ({ id }) => id,
  )
}
