/** A process that runs handlers, one call at a time. Without its node it ends. */
import type { FromGuest, ToGuest } from './call.ts'
import { guestOf, tearDown } from './guest.ts'

// A loop that stands still would not notice that the node is gone; a thread of its own does.
new Worker(new URL('../../orphan-watch.ts', import.meta.url).href).unref()

const tell = (message: FromGuest) => {
  // Without a node nobody listens.
  if (process.connected) process.send?.(message)
}
let take = guestOf(tell)

process.on('message', (message: ToGuest) => {
  if (message.type === 'release') take = guestOf(tell)
  else if (message.type === 'stop') void leave()
  else take(message)
})
process.on('disconnect', () => process.exit(0))
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

async function leave(): Promise<void> {
  try {
    await tearDown()
  } finally {
    process.exit(0)
  }
}
