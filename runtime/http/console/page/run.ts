/** One run: how far it is, and what its tasks came to. */
import type { Run } from '../../../../actors/ports-runs.ts'
import type { ResultLine } from '../../../../actors/result.ts'
import { isOutcome, type Outcome } from '../../../../machines/outcome.ts'
import type { ConsoleView, FoldedGroup, FoldedResults, RunBrief } from '../wire.ts'
import { runActions } from './actions.ts'
import { type Child, h } from './dom.ts'
import { count, dayOf, duration, many } from './format.ts'
import { use } from './loader.ts'
import {
  bar,
  doneOf,
  legend,
  outcomeBadge,
  panel,
  runBadge,
  sumOf,
  table,
  trouble,
} from './parts.ts'
import { link, type Route } from './route.ts'
import { tookOf } from './runs.ts'

const pageSize = 50

export function runView(view: ConsoleView, { parts, query }: Route, now: number): Child {
  const id = parts[1] ?? ''
  const path = `/v1/runs/${encodeURIComponent(id)}`
  const told = view.runs.find((run) => run.id === id)
  const { data, error } = use(path, (body) => body as Run, told === undefined ? '' : stepOf(told))
  // Whatever is further: the stream is ahead of the answer nearly always.
  const run =
    told === undefined || (data !== undefined && doneOf(data) > doneOf(told)) ? data : told
  if (run === undefined) {
    return [
      h('h1', { tabindex: -1 }, id),
      error === undefined ? h('p', { class: 'muted' }, 'Loading…') : trouble(error),
    ]
  }
  const word = query.get('outcome') ?? ''
  const outcome = isOutcome(word) ? word : undefined
  return [
    header(run, now),
    h(
      'section',
      { key: 'progress', class: 'panel', 'aria-label': 'Progress' },
      bar(run),
      legend(run, outcome),
      h(
        'p',
        { class: 'muted sum' },
        `${count(sumOf(run.counts) - run.counts.pending)} ended + `,
        `${count(run.counts.pending)} pending = `,
        `${many(sumOf(run.counts), 'task')}${run.state === 'accepting' ? ' so far' : ''}`,
        run.rejectedCount > 0 ? `; ${many(run.rejectedCount, 'line')} rejected` : '',
      ),
    ),
    rejectedOf(data),
    results(run, outcome, query),
  ]
}

/** Changes when the results are worth another look. */
function stepOf(run: RunBrief): string {
  return `${run.state} ${doneOf(run)}`
}

function header(run: RunBrief, now: number): Child {
  const { id, reason, stopReason, createdAt, parent, labels } = run
  const facts: [string, Child][] = [
    ['Started', dayOf(createdAt)],
    [run.finishedAt === undefined ? 'Going on for' : 'Took', duration(tookOf(run, now))],
  ]
  if (reason !== undefined) facts.push(['Reason', reason])
  if (stopReason !== undefined) facts.push(['Stopped because', stopReason])
  if (parent !== undefined)
    facts.push(['Tries again', h('a', { href: link(['runs', parent]) }, parent)])
  for (const [name, value] of Object.entries(labels ?? {})) facts.push([name, value])
  return h(
    'header',
    { key: 'head', class: 'head' },
    h(
      'div',
      { class: 'title' },
      h('h1', { class: 'mono', tabindex: -1 }, id),
      runBadge(run),
      h('div', { class: 'actions' }, runActions(run)),
    ),
    h(
      'dl',
      { class: 'facts' },
      facts.map(([name, value]) =>
        h('div', { key: name }, h('dt', null, name), h('dd', null, value)),
      ),
    ),
  )
}

function rejectedOf(run: Run | undefined): Child {
  if (run === undefined || run.rejected.length === 0) return null
  const shown = run.rejected.slice(0, 20)
  return panel(
    'Rejected lines',
    null,
    table(
      'Lines that were not accepted',
      [
        { title: 'Line', isNumber: true, isHead: true, cell: ({ line }) => count(line) },
        { title: 'Field', cell: ({ path }) => h('code', null, path === '' ? '(line)' : path) },
        { title: 'What is wrong', cell: ({ message }) => message },
      ],
      shown,
      ({ line, path }) => `${line} ${path}`,
    ),
    run.rejectedCount > shown.length &&
      h(
        'p',
        { class: 'muted' },
        `${count(run.rejectedCount - shown.length)} more: muster show ${run.id}`,
      ),
  )
}

function results(run: RunBrief, outcome: Outcome | undefined, query: URLSearchParams): Child {
  const isEach = query.get('view') === 'tasks'
  const of = outcome === undefined ? {} : { outcome }
  const tab = (text: string, isHere: boolean, href: string) =>
    h('a', { href, class: 'tab', 'aria-current': isHere ? 'page' : null }, text)
  return panel(
    'Results',
    [
      outcome !== undefined &&
        h(
          'a',
          { href: link(['runs', run.id], isEach ? { view: 'tasks' } : {}), class: 'filter' },
          `only ${outcome} ✕`,
          h('span', { class: 'unseen' }, ' (show all)'),
        ),
      tab('Folded', !isEach, link(['runs', run.id], of)),
      tab('Task by task', isEach, link(['runs', run.id], { ...of, view: 'tasks' })),
    ],
    isEach ? eachTask(run, outcome, query.get('after') ?? undefined) : folded(run, outcome),
  )
}

function folded(run: RunBrief, outcome: Outcome | undefined): Child {
  const of = outcome === undefined ? '' : `&outcome=${outcome}`
  const path = `/v1/runs/${encodeURIComponent(run.id)}/results?fold=exact${of}`
  const { data, error } = use(path, (body) => body as FoldedResults, stepOf(run))
  if (data === undefined) return trouble(error) ?? h('p', { class: 'muted' }, 'Loading…')
  if (data.items.length === 0) return [trouble(error), h('p', { class: 'muted' }, nothingYet(run))]
  // The other way around than in a terminal, where one reads from the end.
  return [
    trouble(error),
    h(
      'ol',
      { class: 'groups' },
      data.items.toReversed().map((group) => groupItem(run, group)),
    ),
  ]
}

function groupItem(run: RunBrief, group: FoldedGroup): Child {
  const { outcome, count: amount, firstSeq, names, detail, text, hiddenLines } = group
  const more = amount - names.length
  return h(
    'li',
    { key: `${outcome} ${firstSeq}` },
    h(
      'div',
      { class: 'group-head' },
      outcomeBadge(outcome),
      h('strong', null, `× ${count(amount)}`),
      names.length > 0 &&
        h(
          'span',
          null,
          h('a', { href: link(['runs', run.id, String(firstSeq)]) }, names[0]),
          names.slice(1).map((name) => `, ${name}`),
          more > 0 && h('span', { class: 'muted' }, ` and ${count(more)} more`),
        ),
      firstSeq < 0 && h('span', { class: 'muted' }, 'only counted: see them task by task'),
    ),
    detail !== '' && h('p', { class: 'detail' }, detail),
    text.length > 0 &&
      h(
        'pre',
        { tabindex: 0, 'aria-label': 'What it said' },
        text.join('\n'),
        hiddenLines > 0 ? `\n… ${many(hiddenLines, 'more line')}` : '',
      ),
  )
}

function eachTask(run: RunBrief, outcome: Outcome | undefined, after: string | undefined): Child {
  const query = new URLSearchParams({ limit: String(pageSize) })
  if (outcome !== undefined) query.set('outcome', outcome)
  if (after !== undefined) query.set('after', after)
  const path = `/v1/runs/${encodeURIComponent(run.id)}/results?${query}`
  const { data, error } = use(
    path,
    (body) => body as { items: ResultLine[]; next?: string },
    stepOf(run),
  )
  if (data === undefined) return trouble(error) ?? h('p', { class: 'muted' }, 'Loading…')
  if (data.items.length === 0) return [trouble(error), h('p', { class: 'muted' }, nothingYet(run))]
  const here = (next?: string) => link(['runs', run.id], { view: 'tasks', outcome, after: next })
  return [
    trouble(error),
    table<ResultLine>(
      'Results, task by task',
      [
        {
          title: 'Task',
          isHead: true,
          cell: ({ seq, id, target }) =>
            h('a', { href: link(['runs', run.id, String(seq)]) }, id ?? target ?? `#${seq}`),
        },
        { title: 'Outcome', cell: (line) => outcomeBadge(line.outcome) },
        { title: 'Kind', cell: ({ kind }) => h('code', null, kind) },
        {
          title: 'Why',
          cell: ({ error: why }) =>
            why === undefined
              ? null
              : h('span', { class: 'clip', title: why.message }, why.message),
        },
        { title: 'Attempt', isNumber: true, cell: ({ attempt }) => count(attempt) },
        { title: 'Took', isNumber: true, cell: ({ durationMs }) => duration(durationMs) },
        { title: 'Node', cell: ({ node }) => node },
      ],
      data.items,
      ({ seq }) => String(seq),
    ),
    h(
      'nav',
      { class: 'pager', 'aria-label': 'Pages' },
      after !== undefined && h('a', { href: here() }, '« First'),
      data.next !== undefined && h('a', { href: here(data.next) }, 'Further »'),
    ),
  ]
}

function nothingYet({ finishedAt, total }: RunBrief): string {
  if (total === 0) return 'The run has no tasks.'
  return finishedAt === undefined ? 'No task has ended yet.' : 'No task ended like this.'
}
