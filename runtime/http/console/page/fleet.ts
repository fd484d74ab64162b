/** Nodes with their load, and who leads what. */
import type { ConsoleView, LeaseBrief, NodeBrief } from '../wire.ts'
import { drainNode, releaseLease } from './actions.ts'
import { type Child, type Described, h } from './dom.ts'
import { ago, count, many } from './format.ts'
import { badge, type Column, empty, panel, table, trouble } from './parts.ts'

const tones = {
  joining: '',
  alive: 'live',
  suspect: 'warn',
  draining: 'warn',
  dead: 'bad',
} as const

export function nodesView(view: ConsoleView, now: number): Child {
  const alive = view.nodes.filter(({ state }) => state === 'alive').length
  const tasks = view.nodes.reduce((sum, { load }) => sum + load, 0)
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, 'Nodes'),
    panel(
      'Nodes',
      h('span', { class: 'muted' }, `${count(alive)} alive, ${many(tasks, 'task')} at hand`),
      trouble(view.troubles.fleet),
      view.nodes.length === 0
        ? empty('No node is registered. Start one:', 'muster start')
        : nodeTable(view, view.nodes, now, false),
    ),
    panel(
      'Leases',
      null,
      view.leases.length === 0 ? empty('Nobody leads anything now.') : leaseTable(view.leases, now),
    ),
  ]
}

export function nodeTable(
  { nodes, leases, node: here }: ConsoleView,
  rows: readonly NodeBrief[],
  now: number,
  isBrief: boolean,
): Described {
  const busiest = Math.max(1, ...nodes.map(({ load }) => load))
  const columns: Column<NodeBrief>[] = [
    {
      title: 'Node',
      isHead: true,
      cell: ({ id, host, pid }) => [
        h('span', { class: 'mono' }, id),
        id === here && h('span', { class: 'muted' }, ' (this one)'),
        h('div', { class: 'muted' }, `${host}, pid ${pid}`),
      ],
    },
    {
      title: 'State',
      cell: ({ state, lastSeen }) => [
        badge(state, tones[state]),
        lastSeen !== undefined && h('div', { class: 'muted' }, `seen ${ago(lastSeen, now)}`),
      ],
    },
    { title: 'Tasks at hand', cell: ({ load }) => loadBar(load, busiest) },
    {
      title: 'Leads',
      cell: ({ id }) => {
        const held = leases.filter(({ holder }) => holder === id).map(({ name }) => name)
        return held.length === 0 ? h('span', { class: 'muted' }, '–') : held.join(', ')
      },
    },
    { title: 'Roles', cell: ({ roles }) => h('span', { class: 'muted' }, roles.join(', ')) },
  ]
  if (!isBrief) {
    columns.push(
      { title: 'Kinds', cell: ({ kinds }) => kindsOf(kinds) },
      {
        title: 'Actions',
        cell: ({ id, state }) =>
          state === 'dead' || state === 'draining'
            ? h('span', { class: 'muted' }, '–')
            : drainNode(id),
      },
    )
  }
  return table('Nodes', columns, rows, ({ id, boot }) => `${id}/${boot}`)
}

function kindsOf(kinds: readonly string[]): Child {
  const shown = kinds.slice(0, 4).join(', ')
  const more = kinds.length > 4 ? ` and ${kinds.length - 4} more` : ''
  return h('span', { class: 'muted', title: kinds.join(', ') }, `${shown}${more}`)
}

function loadBar(load: number, busiest: number): Child {
  const width = load === 0 ? 0 : Math.max(1, (100 * load) / busiest)
  return h(
    'div',
    { class: 'load' },
    h('span', { class: 'amount' }, count(load)),
    h(
      'svg',
      { viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      h('rect', { class: 'fill-track', width: 100, height: 6 }),
      h('rect', { class: 'fill-load', width, height: 6 }),
    ),
  )
}

function leaseTable(leases: readonly LeaseBrief[], now: number): Described {
  return table<LeaseBrief>(
    'Leases that are held',
    [
      { title: 'Lease', isHead: true, cell: ({ name }) => h('span', { class: 'mono' }, name) },
      { title: 'Held by', cell: ({ holder }) => h('span', { class: 'mono' }, holder) },
      { title: 'Since', cell: ({ since }) => ago(since, now) },
      { title: 'Epoch', isNumber: true, cell: ({ epoch }) => String(epoch) },
      { title: 'Actions', cell: ({ name, holder }) => releaseLease(name, holder) },
    ],
    leases,
    ({ name }) => name,
  )
}
