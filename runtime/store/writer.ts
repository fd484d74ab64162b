/** Runs as a thread: writes results and audit lines, so that the node's own loop need not. */
import { parentPort } from 'node:worker_threads'
import { describeError } from '../../actors/errors.ts'
import { moreOf, type ResultBatch } from '../../actors/results.ts'
import { fileStores } from '../stores.ts'
import { giveWay } from '../thread-priority.ts'
import { type Opening, type Order, remember, type Word } from './writing.ts'

const say = (word: Word) => parentPort?.postMessage(word)

function serve({ open }: Opening): void {
  const warn = (warned: Record<string, unknown>, message: string) => say({ warned, message })
  try {
    giveWay()
  } catch (error) {
    warn({ error: describeError(error).message }, 'the thread that writes results gives no way')
  }
  const stores = fileStores({ ...open, log: { warn } })
  const kept = new Map<number, ResultBatch[]>()
  const act = (order: Order): Promise<void> => {
    if ('put' in order) {
      const batches = order.put.map(received)
      remember(kept, order.id, batches)
      return stores.results.put(batches)
    }
    if ('appendPut' in order) {
      const batches = kept.get(order.appendPut)
      // Whoever sent it sends it again, whole.
      if (batches === undefined) throw new Error(`order ${order.appendPut} is not remembered`)
      kept.delete(order.appendPut)
      return stores.audit.appendResults(batches)
    }
    if ('append' in order) return stores.audit.append(order.append)
    if ('appendResults' in order) {
      return stores.audit.appendResults(order.appendResults.map(received))
    }
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

/** It is stored and then logged: what some have to say is read once. */
function received(batch: ResultBatch): ResultBatch {
  const more = moreOf(batch)
  return more === undefined ? batch : { ...batch, more }
}

parentPort?.once('message', serve)
