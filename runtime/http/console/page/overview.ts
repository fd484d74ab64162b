/** Everything at a glance. */
import type { ConsoleView, NodeBrief } from '../wire.ts'
import { acknowledge } from './actions.ts'
import { chart } from './chart.ts'
import { type Child, h } from './dom.ts'
import { nodeTable } from './fleet.ts'
import { compact, count, duration, many } from './format.ts'
import { healthPanel } from './health.ts'
import { panel, trouble } from './parts.ts'
import { link } from './route.ts'
import { noRuns, runTable } from './runs.ts'

const runsMax = 8
const nodesMax = 6

export function overview(view: ConsoleView, now: number): Child {
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, 'Overview'),
    attention(view),
    healthPanel(view),
    charts(view),
    runsPanel(view, now),
    nodesPanel(view, now),
  ]
}

/** What somebody should look at; nothing when all is well. */
function attention({ unready, escalations, letters, troubles }: ConsoleView): Child {
  const open = escalations.filter(({ state }) => state === 'open')
  const items: Child[] = [
    ...Object.values(troubles).map((text) => h('li', { key: text }, text)),
    ...unready
      .filter((reason) => !reason.startsWith('PAUSED'))
      .map((reason) => h('li', { key: reason }, `This node takes no work: ${reason}`)),
    ...open.map(({ metric, kind, peak, windowMs }) =>
      h(
        'li',
        { key: metric },
        h(
          'span',
          null,
          h('strong', null, kind),
          ` had up to ${many(peak, 'bad outcome')} in ${duration(windowMs)}. `,
        ),
        h('a', { href: link(['escalations']) }, 'See the escalation'),
        ' ',
        acknowledge(metric),
      ),
    ),
    letters.open > 0 &&
      h(
        'li',
        { key: 'letters' },
        lettersOpen(letters),
        h('a', { href: link(['deadletters']) }, 'See what can be redriven'),
      ),
  ]
  if (items.every((item) => item === false)) return null
  return h(
    'section',
    { key: 'attention', class: 'panel attention', 'aria-labelledby': 'attention' },
    h('h2', { id: 'attention' }, 'Needs a look'),
    h('ul', null, items),
  )
}

function lettersOpen({ open, isMore }: ConsoleView['letters']): string {
  const amount = isMore ? `More than ${many(open, 'dead letter')}` : many(open, 'dead letter')
  return `${amount} ${open === 1 && !isMore ? 'is' : 'are'} open. `
}

function charts({ points, runs, node, unfinished }: ConsoleView): Child {
  const pending = runs.reduce(
    (sum, run) => sum + (run.finishedAt === undefined ? run.counts.pending : 0),
    0,
  )
  return h(
    'section',
    { key: 'charts', class: 'charts', 'aria-label': 'The last five minutes' },
    chart({
      title: 'Throughput',
      about: `all nodes · ${many(unfinished, 'run')} open, ${compact(pending)} tasks pending`,
      values: points.map(({ rate }) => rate),
      format: (value) => `${compact(value)} tasks/s`,
      atLeast: 10,
      none: 'measuring…',
    }),
    chart({
      title: 'Queue wait',
      about: `95 % of what ${node} took waited less`,
      values: points.map(({ waitMs }) => waitMs),
      format: duration,
      atLeast: 10,
      none: 'no task taken',
    }),
    chart({
      title: 'Event loop lag',
      about: `99 % of timers of ${node}, last minute`,
      values: points.map(({ lagMs }) => lagMs),
      format: duration,
      atLeast: 10,
      none: 'measuring…',
    }),
  )
}

function runsPanel({ runs, troubles }: ConsoleView, now: number): Child {
  // Those that go on first: they are what one came to see.
  const going = runs.filter(({ finishedAt }) => finishedAt === undefined)
  const over = runs.filter(({ finishedAt }) => finishedAt !== undefined)
  const shown = [...going, ...over].slice(0, runsMax)
  return panel(
    'Runs',
    h(
      'a',
      { href: link(['runs']) },
      going.length > runsMax ? `All, ${count(going.length)} of them open` : 'All runs',
    ),
    trouble(troubles.runs),
    shown.length === 0 ? noRuns() : runTable('Runs, those that go on first', shown, now),
  )
}

function nodesPanel(view: ConsoleView, now: number): Child {
  const alive = view.nodes.filter(({ state }) => state !== 'dead')
  const busiest = alive.toSorted(byTrouble).slice(0, nodesMax)
  const all = alive.length > nodesMax ? `All ${count(alive.length)} nodes` : 'Nodes and leases'
  return panel(
    'Nodes',
    h('a', { href: link(['nodes']) }, all),
    trouble(view.troubles.fleet),
    nodeTable(view, busiest, now, true),
  )
}

/** Those that are not well first, then by load. */
function byTrouble(a: NodeBrief, b: NodeBrief): number {
  const isWell = ({ state }: NodeBrief) => (state === 'alive' ? 1 : 0)
  return isWell(a) - isWell(b) || b.load - a.load || (a.id < b.id ? -1 : 1)
}
