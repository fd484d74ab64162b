/** What every view has around it: where one is, how the system is, whether this is still true. */
import type { ConsoleView } from '../wire.ts'
import { pauseOrResume } from './actions.ts'
import { type Child, type Described, h } from './dom.ts'
import { escalationsView } from './escalations.ts'
import { nodesView } from './fleet.ts'
import { ago, count } from './format.ts'
import { lettersView } from './letters.ts'
import { overview } from './overview.ts'
import { button } from './parts.ts'
import { link, type Route } from './route.ts'
import { runView } from './run.ts'
import { runsView } from './runs.ts'
import { type Model, store } from './store.ts'
import { stateBadge, systemView } from './system.ts'
import { taskView } from './task.ts'

export function shell(model: Model): Described {
  const { view, connection, route, said, skewMs } = model
  // The node's clock: what is told is by it.
  const now = Date.now() + skewMs
  document.title = titleOf(model)
  return h(
    'div',
    { class: 'console' },
    h('a', { class: 'skip', href: '#main', onclick: skip }, 'Skip to the content'),
    header(view, route),
    stateStrip(view, now),
    connection === 'lost' &&
      h(
        'p',
        { key: 'lost', class: 'lost', role: 'alert' },
        view === undefined
          ? 'The node does not answer. Trying again…'
          : 'The connection to the node is lost; what you see may be old. Trying again…',
      ),
    h(
      'p',
      { key: 'said', class: said === '' ? 'said unseen' : 'said', role: 'status' },
      said,
      said !== '' && button('✕', () => store.trigger.said({ text: '' }), { title: 'Dismiss' }),
    ),
    h(
      'main',
      { key: route.parts.join('/'), id: 'main' },
      view === undefined
        ? h('p', { class: 'muted waiting' }, 'Asking the node…')
        : body(view, route, now),
    ),
  )
}

function body(view: ConsoleView, route: Route, now: number): Child {
  const [place, run, seq] = route.parts
  if (place === undefined) return overview(view, now)
  if (place === 'runs' && seq !== undefined) return taskView(route)
  if (place === 'runs' && run !== undefined) return runView(view, route, now)
  if (place === 'runs') return runsView(view, route, now)
  if (place === 'nodes') return nodesView(view, now)
  if (place === 'escalations') return escalationsView(view, now)
  if (place === 'deadletters') return lettersView(view, route, now)
  if (place === 'system') return systemView(view, route, now)
  return [
    h('h1', { tabindex: -1 }, 'Nothing here'),
    h('p', null, 'This page has no such place. ', h('a', { href: '#/' }, 'To the overview')),
  ]
}

function header(view: ConsoleView | undefined, { parts }: Route): Described {
  const here = parts[0] ?? ''
  const open = view?.escalations.filter(({ state }) => state === 'open').length ?? 0
  const { open: letters = 0, isMore = false } = view?.letters ?? {}
  const to = (place: string, text: string, amount = '') =>
    h(
      'a',
      { href: link(place === '' ? [] : [place]), 'aria-current': place === here ? 'page' : null },
      text,
      amount !== '' && h('span', { class: 'badge bad' }, amount),
    )
  return h(
    'header',
    { class: 'top' },
    h('span', { class: 'brand' }, 'Muster'),
    h('span', { class: 'muted where' }, view === undefined ? '' : `node ${view.node}`),
    h(
      'nav',
      { 'aria-label': 'Views' },
      to('', 'Overview'),
      to('runs', 'Runs'),
      to('nodes', 'Nodes'),
      to('escalations', 'Escalations', open === 0 ? '' : count(open)),
      to(
        'deadletters',
        'Dead letters',
        letters === 0 ? '' : `${count(letters)}${isMore ? '+' : ''}`,
      ),
      to('system', 'System'),
      h('a', { class: 'outside', href: '/inspect' }, 'Statecharts'),
      h('a', { class: 'outside', href: '/board' }, 'Board'),
    ),
  )
}

function stateStrip(view: ConsoleView | undefined, now: number): Child {
  const system = view?.system
  if (system === undefined || system === null) {
    return h(
      'section',
      { key: 'state', 'aria-label': 'State', class: 'state' },
      h('p', { class: 'muted', role: 'status' }, ' '),
    )
  }
  const { state, reason, actor, since, note } = system
  return h(
    'section',
    { key: 'state', 'aria-label': 'State', class: `state is-${state.toLowerCase()}` },
    // Read out when it changes; the time beside it goes on and is not.
    h(
      'p',
      { class: 'what', role: 'status' },
      stateBadge(state),
      h('span', null, ` ${reason}`),
      h('span', { class: 'muted' }, actor === 'system' ? '' : ` (${actor})`),
    ),
    h('span', { class: 'muted since', title: note ?? null }, ago(since, now)),
    pauseOrResume(state),
  )
}

function skip(event: Event): void {
  event.preventDefault()
  document.querySelector<HTMLElement>('main h1')?.focus()
}

function titleOf({ view, connection, route }: Model): string {
  const state = view?.system?.state
  const lost = connection === 'lost' ? 'not connected · ' : ''
  const place = route.parts.length === 0 ? '' : `${route.parts.join(' ')} · `
  const mark = state === undefined || state === 'OPERATIONAL' ? '' : `${state} · `
  return `${lost}${mark}${place}Muster`
}
