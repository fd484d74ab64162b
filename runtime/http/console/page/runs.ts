/** All runs, page by page. */
import type { Run } from '../../../../actors/ports-runs.ts'
import type { ConsoleView, RunBrief } from '../wire.ts'
import { type Child, type Described, h } from './dom.ts'
import { ago, count, dayOf, duration, percent } from './format.ts'
import { use } from './loader.ts'
import { badOf, bar, doneOf, empty, panel, runBadge, table, trouble } from './parts.ts'
import { link, type Route } from './route.ts'

const pageSize = 25

export function runsView(view: ConsoleView, { query }: Route, now: number): Child {
  const after = query.get('after') ?? undefined
  const asked = new URLSearchParams({ limit: String(pageSize) })
  if (after !== undefined) asked.set('after', after)
  const path = `/v1/runs?${asked}`
  // Older ones stay where they are; the first page moves when a run is added.
  const version = after === undefined ? (view.runs[0]?.id ?? '') : ''
  const { data, error } = use(path, (body) => body as { items: Run[]; next?: string }, version)
  const known = new Map(view.runs.map((run) => [run.id, run]))
  const rows = data?.items.map((run) => known.get(run.id) ?? run)
  const title = after === undefined ? 'Runs' : 'Older runs'
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, title),
    panel(
      title,
      null,
      trouble(error),
      rows === undefined
        ? h('p', { class: 'muted' }, 'Loading…')
        : rows.length === 0
          ? noRuns()
          : runTable('Runs, newest first', rows, now),
      h(
        'nav',
        { class: 'pager', 'aria-label': 'Pages' },
        after !== undefined && h('a', { href: link(['runs']) }, '« Newest'),
        data?.next !== undefined &&
          h('a', { href: link(['runs'], { after: data.next }) }, 'Older »'),
      ),
    ),
  ]
}

export function noRuns(): Described {
  return empty(
    'No run yet. Start one from a shell, and watch it here:',
    'muster run config/tasks/host-audit.ndjson',
  )
}

export function runTable(caption: string, rows: readonly RunBrief[], now: number): Described {
  return table<RunBrief>(
    caption,
    [
      {
        title: 'Run',
        isHead: true,
        cell: ({ id, reason }) => [
          h('a', { class: 'mono', href: link(['runs', id]) }, id),
          reason !== undefined && h('div', { class: 'muted clip', title: reason }, reason),
        ],
      },
      { title: 'State', cell: runBadge },
      { title: 'Progress', cell: progress },
      {
        title: 'Not ok',
        isNumber: true,
        cell: (run) =>
          h('span', { class: badOf(run) > 0 ? 'bad-text' : 'muted' }, count(badOf(run))),
      },
      {
        title: 'Started',
        cell: ({ createdAt }) => h('span', { title: dayOf(createdAt) }, ago(createdAt, now)),
      },
      { title: 'Took', isNumber: true, cell: (run) => duration(tookOf(run, now)) },
    ],
    rows,
    ({ id }) => id,
    'runs',
  )
}

function progress(run: RunBrief): Child {
  const done = doneOf(run)
  const total = run.state === 'accepting' ? `${count(run.total)} so far` : count(run.total)
  return [
    bar(run),
    h(
      'div',
      { class: 'under' },
      h('span', null, `${count(done)} of ${total}`),
      h('span', { class: 'muted' }, percent(done, run.total)),
    ),
  ]
}

export function tookOf({ createdAt, finishedAt, durationMs }: RunBrief, now: number): number {
  return durationMs ?? Math.max(0, (finishedAt ?? now) - createdAt)
}
