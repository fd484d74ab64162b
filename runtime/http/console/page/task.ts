/** One task: what it came to, and the attempts before. */
import type { Attempt } from '../../../../actors/ports.ts'
import type { ResultLine } from '../../../../actors/result.ts'
import { type Child, h } from './dom.ts'
import { count, dayOf, duration } from './format.ts'
import { use } from './loader.ts'
import { outcomeBadge, panel, table, trouble } from './parts.ts'
import { link, type Route } from './route.ts'

export function taskView({ parts }: Route): Child {
  const [, run = '', seq = ''] = parts
  const path = `/v1/runs/${encodeURIComponent(run)}/tasks/${encodeURIComponent(seq)}`
  const { data, error } = use(path, (body) => body as { result: ResultLine; attempts: Attempt[] })
  const crumbs = h(
    'nav',
    { key: 'crumbs', class: 'crumbs', 'aria-label': 'Where this is' },
    h('a', { class: 'mono', href: link(['runs', run]) }, run),
    ' › ',
    h('span', { 'aria-current': 'page' }, `task ${seq}`),
  )
  if (data === undefined) {
    return [
      crumbs,
      h('h1', { tabindex: -1 }, `Task ${seq}`),
      error === undefined ? h('p', { class: 'muted' }, 'Loading…') : trouble(error),
    ]
  }
  const { result, attempts } = data
  return [
    crumbs,
    h(
      'header',
      { key: 'head', class: 'head' },
      h(
        'div',
        { class: 'title' },
        h('h1', { tabindex: -1 }, result.id ?? result.target ?? `Task ${seq}`),
        outcomeBadge(result.outcome),
      ),
      facts(result),
    ),
    panel('Attempts', null, attemptTable(result, attempts)),
    result.output === undefined || result.output === null
      ? null
      : panel('Output', null, outputs(result.output)),
  ]
}

function facts(result: ResultLine): Child {
  const all: [string, Child][] = [
    ['Kind', h('code', null, result.kind)],
    ['Number', count(result.seq)],
    ['Started', dayOf(result.startedAt)],
    ['Took', duration(result.durationMs)],
    ['Waited', duration(result.queueMs)],
  ]
  if (result.target !== undefined) all.push(['Target', result.target])
  if (result.trace !== undefined) all.push(['Trace', h('code', null, result.trace)])
  return h(
    'dl',
    { class: 'facts' },
    all.map(([name, value]) => h('div', { key: name }, h('dt', null, name), h('dd', null, value))),
  )
}

interface Row {
  attempt: number
  startedAt: number
  durationMs: number
  where: string
  what: Child
}

function attemptTable(result: ResultLine, attempts: readonly Attempt[]): Child {
  const why = (error: { code: string; message: string } | undefined) =>
    error === undefined ? null : [h('code', null, error.code), ` ${error.message}`]
  const rows: Row[] = attempts.map(({ node, error, ...rest }) => ({
    ...rest,
    where: node,
    what: why(error),
  }))
  const { attempt, startedAt, durationMs, node, worker, outcome, error } = result
  const what = [outcomeBadge(outcome), ' ', why(error)]
  rows.push({ attempt, startedAt, durationMs, where: `${node} / ${worker}`, what })
  return table<Row>(
    'Attempts, the last one at the end',
    [
      { title: 'Attempt', isHead: true, isNumber: true, cell: (row) => count(row.attempt) },
      { title: 'Started', cell: (row) => dayOf(row.startedAt) },
      { title: 'Took', isNumber: true, cell: (row) => duration(row.durationMs) },
      { title: 'Where', cell: (row) => row.where },
      { title: 'What it came to', cell: (row) => row.what },
    ],
    rows,
    (row) => String(row.attempt),
  )
}

/** Of a command, its streams as they were; of anything else its JSON. */
function outputs(output: unknown): Child {
  if (typeof output === 'object' && output !== null && 'stdout' in output && 'stderr' in output) {
    const { stdout, stderr, ...rest } = output
    return [
      h('pre', { tabindex: 0, 'aria-label': 'Rest of the output' }, JSON.stringify(rest, null, 2)),
      stream('stdout', stdout),
      stream('stderr', stderr),
    ]
  }
  const text = typeof output === 'string' ? output : JSON.stringify(output, null, 2)
  return h('pre', { tabindex: 0, 'aria-label': 'Output' }, text)
}

function stream(name: string, text: unknown): Child {
  if (typeof text !== 'string' || text === '') return null
  return [h('h3', null, name), h('pre', { tabindex: 0, 'aria-label': name }, text)]
}
