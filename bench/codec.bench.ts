/**
 * What does it cost a task to travel? Lines read and checked (asked of a whole node, as a dry
 * run), tasks packed into envelopes, and envelopes of work and of results sent through a mailbox
 * on a real Redis (AOF everysec) and received at the other end, all in this process.
 *
 *   bun bench/codec.bench.ts [--quick] [--json]
 */
import { Redis } from 'ioredis'
import {
  envelopeVersion,
  type ResultsEnvelope,
  resultsMailbox,
  workMessage,
} from '../actors/envelope.ts'
import { createNode } from '../runtime/index.ts'
import { bullMailboxes } from '../runtime/mailbox/bullmq.ts'
import { redisClient } from '../runtime/redis/client.ts'
import { temporaryDirectory } from '../test/kit/directory.ts'
import { startRedis } from '../test/kit/redis.ts'
import { readOptions } from './kit/options.ts'
import { measureParts, quiet } from './kit/parts.ts'
import { batchOf, envelopeTasks, itemsOf, packItems } from './kit/sample.ts'

/** Under way at a time. */
const envelopes = 32
const tasks = envelopes * envelopeTasks
const run = 'r-codecbench'

const server = await startRedis()
const redis = new Redis(server.path, { maxRetriesPerRequest: null })
const mailboxes = bullMailboxes({
  connect: (name, kind) => redisClient(server.url, { name, kind }, { log: quiet }) as Redis,
  lockMs: 15_000,
  stalledIntervalMs: 5000,
  log: quiet,
})
const node = await createNode({ ephemeral: true, listen: false, dataDir: temporaryDirectory() })
await node.start()
const faults: string[] = []

type Messages = Parameters<typeof mailboxes.send>[0]

let next = 0
let awaited = 0
let arrived = () => {}
for (const mailbox of ['work.noop', 'work.exec', resultsMailbox]) {
  const options = { concurrency: envelopes, ordered: false }
  await mailboxes.receive(mailbox, options, async ({ body, redeliveries }) => {
    const { seqs } = body as { seqs: [number, number][] }
    if (redeliveries > 0 || seqs[0]?.[1] !== envelopeTasks) faults.push(`${mailbox}: odd delivery`)
    awaited -= envelopeTasks
    if (awaited === 0) arrived()
  })
}

/** Resolves when all have been received. */
async function travel(messages: Messages): Promise<void> {
  const all = Promise.withResolvers<void>()
  awaited += messages.length * envelopeTasks
  arrived = all.resolve
  await mailboxes.send(messages)
  await all.promise
}

function work(kind: 'noop' | 'exec'): Messages {
  const items = itemsOf(next, tasks, kind)
  next += tasks
  return packItems(run, items).map((envelope) => workMessage(envelope))
}

function results(): Messages {
  return Array.from({ length: envelopes }, () => {
    const first = next
    next += envelopeTasks
    const body: ResultsEnvelope = {
      v: envelopeVersion,
      mailbox: 'work.noop',
      ...batchOf(run, first, envelopeTasks),
    }
    const id = `${run}.${first}+${envelopeTasks}.1.r`
    return { mailbox: resultsMailbox, id, priority: 'normal' as const, delayMs: 0, body }
  })
}

const lines = {
  noop: '{"kind":"noop"}\n'.repeat(tasks),
  exec: '{"kind":"exec","input":{"argv":["uname","-r"]}}\n'.repeat(tasks),
}

async function check(body: string): Promise<void> {
  const headers = { 'content-type': 'application/x-ndjson' }
  const request = new Request('http://localhost/v1/runs?dryRun=1', {
    method: 'POST',
    body,
    headers,
  })
  const answer = (await (await node.fetch(request)).json()) as { accepted: number }
  if (answer.accepted !== tasks) faults.push(`read: expected ${tasks} lines, ${answer.accepted} ok`)
}

async function packOnly(kind: 'noop' | 'exec'): Promise<void> {
  const packed = packItems(run, items[kind])
  if (packed.length !== envelopes) faults.push(`pack: expected ${envelopes}, got ${packed.length}`)
}

const items = { noop: itemsOf(0, tasks, 'noop'), exec: itemsOf(0, tasks, 'exec') }
const size = { tasks, calls: envelopes }
try {
  await measureParts({
    bench: 'codec',
    options: readOptions(),
    redis,
    parts: [
      { what: 'read and check, noop', ...size, calls: 1, round: () => check(lines.noop) },
      { what: 'read and check, exec', ...size, calls: 1, round: () => check(lines.exec) },
      { what: 'pack, noop', ...size, calls: 1, round: () => packOnly('noop') },
      { what: 'pack, exec', ...size, calls: 1, round: () => packOnly('exec') },
      { what: 'work to a worker, noop', ...size, round: () => travel(work('noop')) },
      { what: 'work to a worker, exec', ...size, round: () => travel(work('exec')) },
      { what: 'results to a collector', ...size, round: () => travel(results()) },
    ],
    notes: [
      `envelopes of ${envelopeTasks} tasks, ${envelopes} under way; a call: an envelope, or a body`,
    ],
    faults: async () => [...new Set(faults)],
  })
} finally {
  await node.stop(0)
  await mailboxes.close()
  redis.disconnect()
  await server.stop()
}
