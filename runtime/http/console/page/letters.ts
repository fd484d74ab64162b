/** Dead letters: what could not be delivered, or took its worker down, and redriving it. */
import type { Letter as Kept } from '../../../../actors/ports-letters.ts'
import type { ConsoleView } from '../wire.ts'
import { redrive } from './actions.ts'
import { type Child, type Described, h } from './dom.ts'
import { ago, dayOf, many } from './format.ts'
import { use } from './loader.ts'
import { badge, empty, panel, table, trouble } from './parts.ts'
import { link, type Route } from './route.ts'

const pageSize = 50
type Letter = Kept & { scope: 'mailbox' }
/** Messages between actors of one process are listed as well, and cannot be redriven. */
type Line = Letter | { scope: 'local' }

export function lettersView(view: ConsoleView, { query }: Route, now: number): Child {
  const isAll = query.get('state') === 'all'
  const after = query.get('after') ?? undefined
  const asked = new URLSearchParams({ limit: String(pageSize) })
  if (!isAll) asked.set('state', 'open')
  if (after !== undefined) asked.set('after', after)
  const { open, newest = '' } = view.letters
  const { data, error } = use(
    `/v1/deadletters?${asked}`,
    (body) => body as { items: Line[]; next?: string },
    `${open} ${newest}`,
  )
  const letters = data?.items.filter((line): line is Letter => line.scope === 'mailbox')
  const here = (next?: string) =>
    link(['deadletters'], { state: isAll ? 'all' : undefined, after: next })
  const tab = (text: string, isHere: boolean, href: string) =>
    h('a', { href, class: 'tab', 'aria-current': isHere ? 'page' : null }, text)
  return [
    h('h1', { class: 'unseen', tabindex: -1 }, 'Dead letters'),
    panel(
      'Dead letters',
      [
        tab('Open', !isAll, link(['deadletters'])),
        tab('All', isAll, link(['deadletters'], { state: 'all' })),
        open > 0 &&
          redrive(
            'Redrive all open letters',
            'Their tasks run in new runs, whose parents are the old ones. ' +
              'A letter that was redriven three times is left.',
            { filter: {} },
          ),
      ],
      trouble(error ?? view.troubles.letters),
      letters === undefined
        ? h('p', { class: 'muted' }, 'Loading…')
        : letters.length === 0
          ? empty(
              'No dead letter. Tasks that keep killing their worker, and messages that nobody ' +
                'understands, end here.',
            )
          : letterTable(letters, now),
      h(
        'nav',
        { class: 'pager', 'aria-label': 'Pages' },
        after !== undefined && h('a', { href: here() }, '« Newest'),
        data?.next !== undefined && h('a', { href: here(data.next) }, 'Older »'),
      ),
    ),
  ]
}

function letterTable(letters: readonly Letter[], now: number): Described {
  return table<Letter>(
    'Dead letters, newest first',
    [
      {
        title: 'What',
        isHead: true,
        cell: ({ run, seq, kind, id }) => [
          run === undefined || seq === undefined
            ? h('span', { class: 'mono' }, id)
            : h('a', { class: 'mono', href: link(['runs', run, String(seq)]) }, `${run} #${seq}`),
          kind !== undefined && h('div', { class: 'muted' }, kind),
        ],
      },
      { title: 'Reason', cell: ({ reason }) => badge(reason, 'bad') },
      {
        title: 'Error',
        cell: ({ error, chain }) => [
          h('span', null, error.message),
          chain.length > 0 && h('div', { class: 'muted' }, lostBy(chain)),
        ],
      },
      { title: 'Mailbox', cell: ({ mailbox }) => h('code', null, mailbox) },
      { title: 'When', cell: ({ at }) => h('span', { title: dayOf(at) }, ago(at, now)) },
      { title: 'Actions', cell: letterActions },
    ],
    letters,
    ({ id }) => id,
  )
}

function letterActions({ id, state, redrives, redrivenAs }: Letter): Child {
  const runs = (redrivenAs ?? []).filter((name) => name.startsWith('r-'))
  const past =
    redrives === 0
      ? null
      : h(
          'div',
          { class: 'muted' },
          `redriven ${many(redrives, 'time')}`,
          runs.map((run) => [
            ' ',
            h('a', { key: run, class: 'mono', href: link(['runs', run]) }, run),
          ]),
        )
  if (state !== 'open') return past
  return [
    redrive('Redrive', 'Its task runs in a new run, whose parent is the old one.', { ids: [id] }),
    past,
  ]
}

function lostBy(chain: Letter['chain']): string {
  const names = chain.map(({ node, worker }) => [node, worker].filter(Boolean).join('/'))
  const known = [...new Set(names)].filter((name) => name !== '').join(', ')
  return `lost ${many(chain.length, 'worker')}${known === '' ? '' : `: ${known}`}`
}
