/** Asks why, before something is done that others will ask about. */
import { Refusal } from './api.ts'
import { type Child, h, patch } from './dom.ts'

export interface Question {
  title: string
  /** What is going to happen. */
  about: string
  /** On the button: what it does. */
  verb: string
  isDangerous?: boolean
  /** Boxes to choose by; at least one has to be. */
  choices?: { legend: string; names: readonly string[]; chosen: readonly string[] }
  /** Does it. What it throws is shown, and the dialog stays. */
  act(answer: { reason: string; chosen: string[] }): Promise<void>
}

const reasonMax = 1000

export function ask(question: Question): void {
  const dialog = document.createElement('dialog')
  dialog.setAttribute('aria-labelledby', 'dialog-title')
  dialog.setAttribute('aria-describedby', 'dialog-about')
  let error = ''
  let isBusy = false
  const chosen = new Set(question.choices?.chosen)

  const reasonOf = () => dialog.querySelector('textarea')?.value.trim() ?? ''
  const submit = async (event: Event) => {
    event.preventDefault()
    if (isBusy) return
    const reason = reasonOf()
    if (reason === '') error = 'Say why: it is kept in the history and in the log.'
    else if (question.choices !== undefined && chosen.size === 0) error = 'Choose at least one.'
    else error = ''
    if (error !== '') {
      draw()
      dialog.querySelector('textarea')?.focus()
      return
    }
    isBusy = true
    draw()
    try {
      await question.act({ reason, chosen: [...chosen] })
      dialog.close()
    } catch (problem) {
      error = problem instanceof Refusal ? problem.message : String(problem)
    }
    isBusy = false
    draw()
  }

  const draw = () => {
    patch(dialog, [
      h(
        'form',
        { onsubmit: (event) => void submit(event), novalidate: true },
        h('h2', { id: 'dialog-title' }, question.title),
        h('p', { id: 'dialog-about' }, question.about),
        boxes(question, chosen, draw),
        h('label', { for: 'dialog-reason' }, 'Reason'),
        h('textarea', {
          id: 'dialog-reason',
          name: 'reason',
          rows: 3,
          maxlength: reasonMax,
          required: true,
          autofocus: true,
          'aria-invalid': error === '' ? null : 'true',
          'aria-describedby': 'dialog-error',
        }),
        h(
          'p',
          { id: 'dialog-error', class: 'trouble', role: 'alert', hidden: error === '' },
          error,
        ),
        h(
          'div',
          { class: 'dialog-actions' },
          h('button', { type: 'button', onclick: () => dialog.close() }, 'Back'),
          h(
            'button',
            { type: 'submit', class: question.isDangerous === true ? 'danger' : 'primary' },
            isBusy ? 'One moment…' : question.verb,
          ),
        ),
      ),
    ])
  }

  dialog.addEventListener('close', () => dialog.remove())
  draw()
  document.body.append(dialog)
  dialog.showModal()
}

function boxes({ choices }: Question, chosen: Set<string>, draw: () => void): Child {
  if (choices === undefined) return null
  return h(
    'fieldset',
    null,
    h('legend', null, choices.legend),
    choices.names.map((name) =>
      h(
        'label',
        { key: name, class: 'choice' },
        h('input', {
          type: 'checkbox',
          name: 'choice',
          value: name,
          checked: choices.chosen.includes(name),
          onchange: () => {
            if (!chosen.delete(name)) chosen.add(name)
            draw()
          },
        }),
        name,
      ),
    ),
  )
}
