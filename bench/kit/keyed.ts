/** Keyed tasks on a fresh node: each to be run once, those of a key one after the other. */
import { join } from 'node:path'
import { deliveryFaults } from './delivery.ts'
import { BenchNode } from './node.ts'
import { submitAndWait } from './stage.ts'

interface Output {
  key: string
  number: number
  /** Which of all calls of the handler it was, and how often this task was run by then. */
  turn: number
  ran: number
}

export async function runKeyed(
  tasks: number,
  keys: number,
): Promise<{ tasks: number; perSecond: number; faults: string[] }> {
  const node = await BenchNode.start({
    words: ['--tasks', join(import.meta.dir, 'ordered.tasks.ts')],
  })
  try {
    const lines = Array.from({ length: tasks }, (_, index) => {
      const key = `key-${index % keys}`
      return { kind: 'bench.ordered', key, input: { key, number: Math.floor(index / keys) } }
    })
    const run = await submitAndWait(node, lines)
    const faults = await deliveryFaults(node, run, tasks)
    const last = new Map<string, Output>()
    for await (const { output } of node.muster.results(run.id)) {
      const now = output as Output
      const before = last.get(now.key) ?? { number: -1, turn: 0 }
      last.set(now.key, now)
      if (now.ran !== 1) faults.push(`${now.key}, task ${now.number}: was run ${now.ran} times`)
      if (now.number !== before.number + 1 || now.turn <= before.turn) {
        faults.push(`${now.key}: task ${now.number} was run before task ${before.number}`)
      }
    }
    const ownMs = (run.finishedAt ?? Number.NaN) - run.createdAt
    return { tasks, perSecond: (tasks / ownMs) * 1000, faults: faults.slice(0, 20) }
  } finally {
    await node.stop()
  }
}
