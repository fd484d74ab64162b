/**
 * The same work through BullMQ as it is: one job a task, no-op, in a process of its own. Prints how
 * long it took from the first add to the last completion, and what was not delivered exactly once.
 * Arguments: path of the Redis socket, tasks, how many handlers at a time.
 */
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'

export interface PlainFigures {
  ms: number
  /** Processor time of this process in that time. */
  cpuMs: number
  missing: number
  twice: number
}

const addedAtOnce = 1000

async function run(path: string, tasks: number, concurrency: number): Promise<PlainFigures> {
  const connection = () => new Redis({ path, maxRetriesPerRequest: null })
  const connections = [connection(), connection()] as const
  const queue = new Queue('noop', { connection: connections[0] })
  const seen = new Uint8Array(tasks)
  let done = 0
  let twice = 0
  const all = Promise.withResolvers<void>()
  const worker = new Worker<{ seq: number }>(
    'noop',
    async ({ data }) => {
      if ((seen[data.seq] ?? 0) > 0) twice += 1
      seen[data.seq] = 1
    },
    { connection: connections[1], concurrency },
  )
  worker.on('error', (error) => console.error(error.message))
  await worker.waitUntilReady()
  const add = async (from: number, to: number) => {
    for (let first = from; first < to; first += addedAtOnce) {
      const count = Math.min(addedAtOnce, to - first)
      await queue.addBulk(
        Array.from({ length: count }, (_, index) => ({
          name: 'noop',
          data: { seq: first + index },
          opts: { removeOnComplete: true, attempts: 6 },
        })),
      )
    }
  }
  worker.on('completed', () => {
    done += 1
    if (done === tasks) all.resolve()
  })
  const before = process.cpuUsage()
  const begun = performance.now()
  await Promise.all([add(0, tasks), all.promise])
  const ms = performance.now() - begun
  const { user, system } = process.cpuUsage(before)
  await worker.close()
  await queue.close()
  for (const each of connections) each.disconnect()
  return {
    ms,
    cpuMs: (user + system) / 1000,
    missing: seen.filter((times) => times === 0).length,
    twice,
  }
}

if (import.meta.main) {
  const [path = '', tasks, concurrency] = process.argv.slice(2)
  console.log(JSON.stringify(await run(path, Number(tasks), Number(concurrency))))
  process.exit(0)
}
