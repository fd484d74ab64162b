/** How well this node is, how much of that it sees, and in words why it is slow where it is. */
import type { ConsoleView, HealthBrief } from '../wire.ts'
import { type Child, h } from './dom.ts'
import { badge, panel } from './parts.ts'
import { link } from './route.ts'

const tones = {
  HEALTHY: 'live',
  DEGRADED: 'warn',
  CRITICAL: 'bad',
  COLLAPSE_RISK: 'bad',
  UNKNOWN: 'warn',
} as const

export function healthPanel({ health, system, node }: ConsoleView): Child {
  if (health === null) return null
  const { status, score, level, coverage, blind } = health
  return panel(
    'Health',
    h('a', { href: link(['system']) }, 'State and its history'),
    h('p', { class: 'words' }, wordsOf(health, system)),
    h(
      'dl',
      { class: 'facts' },
      fact(`Health of ${node}`, [
        level === undefined ? '' : `${Math.round(level * 100)} % `,
        badge(status, tones[status]),
      ]),
      fact('Score', [`${score} `, h('span', { class: 'muted' }, '(0 is best)')]),
      fact('Coverage', [
        `${coverage.seeing} of ${coverage.of} sensors see `,
        blind.length > 0 && h('span', { class: 'muted' }, `(not ${blind.join('; ')})`),
      ]),
    ),
  )
}

/** Why it is slow, or that nothing makes it so. */
function wordsOf({ status, because, blind }: HealthBrief, system: ConsoleView['system']): string {
  if (system?.note !== undefined) return `${capital(system.note)}.`
  if (because.length > 0) {
    const how = status === 'HEALTHY' ? 'Held up a little' : 'Slow'
    return `${how} because: ${because.join(', ')}.`
  }
  return status === 'UNKNOWN'
    ? `Nobody can tell how well this node is: ${blind.join('; ')}.`
    : 'Nothing holds it up.'
}

function fact(title: string, value: Child): Child {
  return h('div', { key: title }, h('dt', null, title), h('dd', null, value))
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
