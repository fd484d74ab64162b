/**
 * Subscriptions for drills, loaded by nodes as a task file. What they do is noted line by line in a
 * journal; an effect is a file of the message's id, which can be made once.
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineBridge, defineSubscription, defineTask, type TaskContext } from 'muster'
import { z } from 'zod'

const folder = process.env['TOPICS_FOLDER'] ?? '.'
const journal = join(folder, 'journal')

function note(what: string, id: string): void {
  appendFileSync(journal, `${what} ${id} ${process.pid}\n`)
}

function wasBegunElsewhere(id: string): boolean {
  const lines = readFileSync(journal, 'utf8').trim().split('\n')
  return lines.some((line) => {
    const [what, of, pid] = line.split(' ')
    return what === 'begun' && of === id && pid !== String(process.pid)
  })
}

function takeEffect(id: string): void {
  try {
    writeFileSync(join(folder, 'effects', id), String(process.pid), { flag: 'wx' })
  } catch {
    // Delivered before: its effect is there already.
    note('again', id)
  }
}

const input = z.object({ topic: z.string(), data: z.unknown(), id: z.optional(z.string()) })
const announce = ({ topic, data, id }: z.output<typeof input>, { publish }: TaskContext) =>
  publish(topic, data, id === undefined ? {} : { id })

export const tasks = [
  defineTask({ kind: 'announce', input, run: announce }),
  defineTask({ kind: 'announce-thread', profile: 'cpu', input, run: announce }),
  defineTask({ kind: 'announce-process', profile: 'mixed', input, run: announce }),
]

/** Whoever takes a message of it first stands still with it. */
export const holding = defineSubscription({
  name: 'holding',
  group: 'holding',
  pattern: 'hold.*',
  async handle({ id }) {
    note('begun', id)
    if (!wasBegunElsewhere(id)) await new Promise(() => undefined)
    takeEffect(id)
    note('done', id)
  },
})

export const bridge = defineBridge<number, number>({
  name: 'both-signs',
  from: 'raw.>',
  to: (output) => (output < 0 ? 'signed.minus' : 'signed.plus'),
  parse: z.number().parse,
  async transform(data) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    return [data, -data]
  },
})

export const sink = defineSubscription({
  name: 'sink',
  group: 'sink',
  pattern: 'signed.*',
  concurrency: 4,
  handle: ({ id }) => takeEffect(id),
})

export const soft = defineSubscription({
  name: 'soft',
  pattern: 'control.>',
  handle({ id, data }) {
    note('heard', id)
    if (data !== 'stray') return
    setTimeout(() => {
      throw new Error('when nobody waits for it')
    })
    void Promise.reject(new Error('with nobody waiting'))
  },
})
