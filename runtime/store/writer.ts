/** Runs as a thread: writes results and audit lines, so that the node's own loop need not. */
import { parentPort } from 'node:worker_threads'
import { describeError } from '../../actors/errors.ts'
import { fileStores } from '../stores.ts'
import type { Opening, Order, Word } from './writing.ts'

const say = (word: Word) => parentPort?.postMessage(word)

function serve({ open }: Opening): void {
  const warn = (warned: Record<string, unknown>, message: string) => say({ warned, message })
  const stores = fileStores({ ...open, log: { warn } })
  const act = (order: Order): Promise<void> => {
    if ('put' in order) return stores.results.put(order.put)
    if ('append' in order) return stores.audit.append(order.append)
    if ('appendResults' in order) return stores.audit.appendResults(order.appendResults)
    return stores.close()
  }
  let last = Promise.resolve()
  parentPort?.on('message', (order: Order) => {
    last = last.then(async () => {
      try {
        await act(order)
        say({ done: order.id })
      } catch (error) {
        say({ failed: order.id, ...describeError(error) })
      }
    })
  })
  say({ opened: true })
}

parentPort?.once('message', serve)
