/** What runs in a thread of a pool, for as long as it is lent: one call at a time. */
import type { MessagePort } from 'node:worker_threads'
import { printToStderr } from '../handler-prints.ts'
import type { FromGuest, ToGuest } from './call.ts'
import { guestOf, tearDown } from './guest.ts'

export function serve({ port }: { port: MessagePort }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const tell = (message: FromGuest) => port.postMessage(message)
  // It would end this thread with nobody noticing.
  process.exit = (code) => {
    tell({ type: 'dying', how: `called process.exit(${code ?? ''})` })
    throw new Error('process.exit was called in a handler')
  }
  printToStderr()
  let take = guestOf(tell)
  port.on('message', (message: ToGuest) => {
    if (message.type === 'release') take = guestOf(tell)
    else if (message.type === 'stop') {
      tearDown()
        .finally(() => port.close())
        .then(resolve, reject)
    } else take(message)
  })
  return promise
}
