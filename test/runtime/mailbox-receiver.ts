/**
 * A process of its own that receives from one mailbox, and says on stdout what happens to it. Each
 * delivery lasts until a line arrives on stdin. Arguments: URL of Redis, mailbox, lockMs,
 * stalledIntervalMs.
 */
import type { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import { bullMailboxes } from '../../runtime/mailbox/bullmq.ts'
import { redisClient } from '../../runtime/redis/client.ts'

const [url = '', mailbox = '', lockMs, stalledIntervalMs] = process.argv.slice(2)
const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
const mailboxes = bullMailboxes({
  connect: (name, kind) => redisClient(url, { name, kind }, { log }) as Redis,
  lockMs: Number(lockMs),
  stalledIntervalMs: Number(stalledIntervalMs),
  log,
})
const go = Promise.withResolvers<void>()
process.stdin.once('data', () => go.resolve())
process.once('SIGTERM', () => {
  // It must end by itself then: nothing may keep it running.
  process.stdin.destroy()
  mailboxes.close().then(
    () => console.log('closed'),
    (error: unknown) => console.log(`not closed: ${String(error)}`),
  )
})
await mailboxes.receive(mailbox, { concurrency: 1, ordered: false }, async (delivery) => {
  await delivery.note({ seenBy: String(process.pid) })
  console.log(`got ${delivery.id}`)
  await go.promise
  console.log(`${delivery.signal.aborted ? 'lost' : 'done'} ${delivery.id}`)
})
console.log('receiving')
