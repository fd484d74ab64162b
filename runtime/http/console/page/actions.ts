/** What the reader may do: each by the public route that the command line takes as well. */
import { type Outcome, outcomes } from '../../../../machines/outcome.ts'
import type { RunBrief } from '../wire.ts'
import { post } from './api.ts'
import { ask, type Question } from './dialog.ts'
import type { Described } from './dom.ts'
import { count, many } from './format.ts'
import { refresh } from './loader.ts'
import { button } from './parts.ts'
import { link } from './route.ts'
import { store } from './store.ts'

type Tone = 'primary' | 'danger' | ''

/** A button that asks for the reason first; of one who may only read it says so. */
function asking(text: string, question: Question, tone: Tone = ''): Described {
  const canWrite = store.getSnapshot().context.view?.canWrite === true
  return button(text, () => ask(question), {
    tone,
    disabled: !canWrite,
    ...(canWrite ? {} : { title: 'your token may read and change nothing' }),
  })
}

/** Does it, says what it came to, and has what is shown brought up to date. */
async function done<T>(path: string, body: object, say: (answer: T) => string): Promise<T> {
  const answer = await post<T>(path, body)
  store.trigger.said({ text: say(answer) })
  refresh()
  return answer
}

export function pauseOrResume(state: string): Described {
  const isPaused = state === 'PAUSED'
  const to = isPaused ? 'RECOVERY' : 'PAUSED'
  return asking(isPaused ? 'Resume system' : 'Pause system', {
    title: isPaused ? 'Let the system go on?' : 'Pause the system?',
    about: isPaused
      ? 'All nodes take work again, slowly at first.'
      : 'All nodes stop taking work. What runs is finished; nothing is lost.',
    verb: isPaused ? 'Resume the system' : 'Pause the system',
    act: async ({ reason }) => {
      await done<{ state: string }>(
        '/v1/system',
        { state: to, reason },
        (now) => `The system is ${now.state}.`,
      )
    },
  })
}

export function changeState(to: string): Described {
  return asking(to, {
    title: `Change the state to ${to}?`,
    about: `PAUSED, and what ends it, holds for all nodes; the rest for the node that you look at.`,
    verb: `Change to ${to}`,
    act: async ({ reason }) => {
      await done<{ state: string }>(
        '/v1/system',
        { state: to, reason },
        (now) => `The system is ${now.state}.`,
      )
    },
  })
}

export function runActions(run: RunBrief): Described[] {
  const { id, state, counts } = run
  const path = (action: string) => `/v1/runs/${encodeURIComponent(id)}/${action}`
  const act =
    (action: string, say: string): Question['act'] =>
    async ({ reason }) => {
      await done(path(action), { reason }, () => `${id} ${say}.`)
    }
  if (run.finishedAt !== undefined) return [retry(run, path('retry'))]
  const pending = many(counts.pending, 'task')
  const pause: Question = {
    title: `Pause ${id}?`,
    about: `What runs is finished; ${pending} that are pending wait until it is resumed.`,
    verb: 'Pause the run',
    act: act('pause', 'is paused'),
  }
  const resume: Question = {
    title: `Resume ${id}?`,
    about: `${count(counts.pending)} tasks that are pending go on.`,
    verb: 'Resume the run',
    act: act('resume', 'goes on'),
  }
  const cancel: Question = {
    title: `Cancel ${id}?`,
    about:
      `${pending} not done yet end as cancelled, those that run are ended. ` +
      'This cannot be undone; they can be tried again as a new run.',
    verb: 'Cancel the run',
    isDangerous: true,
    act: act('cancel', 'is being cancelled'),
  }
  return [
    state === 'paused' ? asking('Resume run', resume, 'primary') : asking('Pause run', pause),
    asking('Cancel run', cancel, 'danger'),
  ]
}

function retry({ id, counts }: RunBrief, path: string): Described {
  const names = outcomes.filter((outcome) => counts[outcome] > 0)
  return asking('Retry…', {
    title: `Try tasks of ${id} again?`,
    about: 'They run in a new run, whose parent is this one; what this one came to stays as it is.',
    verb: 'Start a new run',
    choices: {
      legend: 'Tasks that ended as',
      names,
      chosen: names.filter((outcome) => outcome !== 'ok'),
    },
    act: async ({ reason, chosen }) => {
      const body = { reason, outcomes: chosen as Outcome[] }
      const answer = await done<{ run: string; accepted: number }>(
        path,
        body,
        ({ run, accepted }) => `${run} tries ${many(accepted, 'task')} again.`,
      )
      location.hash = link(['runs', answer.run])
    },
  })
}

export function drainNode(id: string): Described {
  return asking('Drain', {
    title: `Drain node ${id}?`,
    about: 'It finishes what it has at hand, hands the rest to others, and ends.',
    verb: 'Drain the node',
    isDangerous: true,
    act: async ({ reason }) => {
      await done(`/v1/nodes/${encodeURIComponent(id)}/drain`, { reason }, () => `${id} drains.`)
    },
  })
}

export function releaseLease(name: string, holder: string): Described {
  return asking('Release', {
    title: `Take ${name} from ${holder}?`,
    about: 'Another node takes over; what the old holder still writes is refused.',
    verb: 'Release the lease',
    isDangerous: true,
    act: async ({ reason }) => {
      const path = `/v1/leases/${encodeURIComponent(name)}/release`
      await done(path, { reason }, () => `${name} was taken from ${holder}.`)
    },
  })
}

export function acknowledge(metric: string): Described {
  return asking('Acknowledge', {
    title: `Acknowledge ${metric}?`,
    about: 'Somebody has seen it. It closes by itself when its window has been calm for a while.',
    verb: 'Acknowledge',
    act: async ({ reason }) => {
      const path = `/v1/escalations/${encodeURIComponent(metric)}/ack`
      await done(path, { reason }, () => `${metric} is acknowledged.`)
    },
  })
}

interface Redriven {
  redriven: { id: string; run?: string }[]
  refused: { id: string; message: string }[]
  more?: true
}

/** @param wanted letters by id, or a filter */
export function redrive(text: string, about: string, wanted: object): Described {
  return asking(text, {
    title: `${text}?`,
    about,
    verb: 'Redrive',
    act: async ({ reason }) => {
      await done<Redriven>('/v1/deadletters/redrive', { ...wanted, reason }, saidOf)
    },
  })
}

function saidOf({ redriven, refused, more }: Redriven): string {
  const runs = [...new Set(redriven.flatMap(({ run }) => run ?? []))]
  const into =
    runs.length === 0 ? '' : ` in ${runs.slice(0, 3).join(', ')}${runs.length > 3 ? ', …' : ''}`
  const why =
    refused[0] === undefined ? '' : ` ${count(refused.length)} refused: ${refused[0].message}.`
  const rest = more === true ? ' There are more: ask again.' : ''
  return `${many(redriven.length, 'letter')} redriven${into}.${why}${rest}`
}
