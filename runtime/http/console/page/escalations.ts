/** Escalations: kinds of which too many tasks end badly. */
import type { EscalationLine } from '../../../../actors/escalation-list.ts'
import type { ConsoleView } from '../wire.ts'
import { acknowledge } from './actions.ts'
import { type Child, h } from './dom.ts'
import { ago, count, dayOf, duration } from './format.ts'
import { badge, empty, panel, table, trouble } from './parts.ts'

const tones = { open: 'bad', acknowledged: 'warn', closed: '' } as const

export function escalationsView({ escalations, troubles }: ConsoleView, now: number): Child {
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, 'Escalations'),
    panel(
      'Escalations',
      null,
      trouble(troubles.escalations),
      escalations.length === 0
        ? empty('Nothing has escalated. Past ones:', 'muster escalations --all')
        : table<EscalationLine>(
            'Escalations that are not closed',
            [
              {
                title: 'Kind',
                isHead: true,
                cell: ({ kind }) => h('span', { class: 'mono' }, kind),
              },
              { title: 'State', cell: ({ state }) => badge(state, tones[state]) },
              { title: 'In its window', cell: windowCell },
              { title: 'Peak', isNumber: true, cell: ({ peak }) => count(peak) },
              {
                title: 'Opened',
                cell: ({ openedAt }) => h('span', { title: dayOf(openedAt) }, ago(openedAt, now)),
              },
              {
                title: 'Actions',
                cell: ({ state, metric, reason }) =>
                  state === 'open'
                    ? acknowledge(metric)
                    : h('span', { class: 'muted' }, reason ?? 'seen'),
              },
            ],
            escalations,
            ({ metric }) => metric,
          ),
    ),
  ]
}

/** The window bucket by bucket, and what it takes to open one. */
function windowCell({ window, atLeast, buckets, threshold, windowMs }: EscalationLine): Child {
  const now = window === null ? `at least ${count(atLeast ?? 0)}` : count(window)
  const text = `${now} in ${duration(windowMs)}, threshold ${count(threshold)}`
  if (buckets === null || buckets.length === 0) return text
  const highest = Math.max(1, ...buckets)
  return [
    h(
      'svg',
      {
        class: 'spark',
        viewBox: `0 0 ${buckets.length * 4} 20`,
        preserveAspectRatio: 'none',
        'aria-hidden': 'true',
      },
      buckets.map((amount, index) => {
        const height = amount === 0 ? 0.5 : Math.max(2, (20 * amount) / highest)
        return h('rect', { class: 'fill-failed', x: index * 4, y: 20 - height, width: 3, height })
      }),
    ),
    h('div', { class: 'muted' }, text),
  ]
}
