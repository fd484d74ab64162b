/**
 * What does exact room in a mailbox cost? Room for envelopes of 1000 taken through the admission
 * port, on a real Redis (AOF everysec): one after the other, and as many at a time as there may be.
 *
 *   bun bench/admission.bench.ts [--quick] [--json]
 */
import { Redis } from 'ioredis'
import { redisAdmission } from '../runtime/redis/admission.ts'
import { startRedis } from '../test/kit/redis.ts'
import { readOptions } from './kit/options.ts'
import { measureParts } from './kit/parts.ts'
import { envelopeTasks } from './kit/sample.ts'

const envelopes = 64
const depthMax = 1_000_000_000
const mailbox = 'work.noop'
const run = 'r-admissionbench'

const server = await startRedis()
const redis = new Redis(server.path, { maxRetriesPerRequest: null })
const admission = redisAdmission(redis)
let taken = 0
let refused = 0

async function reserve(): Promise<void> {
  const isTaken = await admission.reserve(mailbox, run, envelopeTasks, depthMax)
  if (isTaken) taken += envelopeTasks
  else refused += 1
}

async function oneByOne(): Promise<void> {
  for (let index = 0; index < envelopes; index += 1) await reserve()
}

const size = { tasks: envelopes * envelopeTasks, calls: envelopes }
try {
  await measureParts({
    bench: 'admission',
    options: readOptions(),
    redis,
    parts: [
      { what: 'reserve, one after the other', ...size, round: oneByOne },
      {
        what: `reserve, ${envelopes} at a time`,
        ...size,
        round: () => Promise.all(Array.from({ length: envelopes }, reserve)),
      },
    ],
    notes: [`envelopes of ${envelopeTasks} tasks`],
    async faults() {
      const used = await admission.used(mailbox)
      if (used === taken && refused === 0) return []
      return [`expected room for ${taken} tasks to be taken, got ${used}; ${refused} refused`]
    },
  })
} finally {
  redis.disconnect()
  await server.stop()
}
