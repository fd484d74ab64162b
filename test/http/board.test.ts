import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Queue, Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { summaryOf } from '../../runtime/http/board/summary.ts'
import { keys, SlotKeys } from '../../runtime/redis/keys.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { noops, problemOf, type StartedNode, startNode } from '../runtime/started-node.ts'

let redis: RedisServer
let node: StartedNode
let connection: Redis
const mailbox = 'work.ghost'
const envelope = {
  v: 1,
  run: 'r-00000001',
  kind: 'ghost',
  attempt: 2,
  priority: 'high',
  seqs: [
    [40, 2],
    [50, 1],
  ],
  tasks: [{ kind: 'ghost', input: { password: 'hunter2' } }],
}

beforeAll(async () => {
  redis = await startRedis()
  const tokenFile = join(temporaryDirectory(), 'tokens')
  writeFileSync(tokenFile, 'write writer-token-0001\nread reader-token-0001\n', { mode: 0o600 })
  node = await startNode({ redis: { url: redis.url }, http: { port: 0, tokenFile } })
  connection = new Redis(redis.url, { maxRetriesPerRequest: null })
})
afterAll(async () => {
  connection.disconnect()
  await node.node.stop()
  await redis.stop()
})

const as = (role: 'writer' | 'reader', path: string, init: RequestInit = {}) =>
  node.ask(`/board${path}`, {
    ...init,
    headers: { authorization: `Bearer ${role}-token-0001`, 'content-type': 'application/json' },
  })

interface BoardList {
  queues: { name: string; readOnlyMode: boolean; counts: Record<string, number> }[]
}

const queuesOf = async (role: 'writer' | 'reader') =>
  ((await (await as(role, '/api/queues')).json()) as BoardList).queues

/** A message in a mailbox of a kind that nobody has, failed by BullMQ. */
async function failedMessage(id: string): Promise<Queue> {
  const prefix = new SlotKeys().mailboxPrefix(mailbox)
  await connection.sadd(keys.mailboxes, mailbox)
  const queue = new Queue(mailbox, { connection, prefix })
  await queue.add('envelope', envelope, { jobId: id, attempts: 1, priority: 3 })
  const broken = new Worker(mailbox, () => Promise.reject(new Error('broke')), {
    connection,
    prefix,
  })
  await eventually(async () => expect(await (await queue.getJob(id))?.getState()).toBe('failed'))
  await broken.close()
  return queue
}

describe('the board', () => {
  test('has every mailbox, also those that come and go while it is open', async () => {
    const token = { authorization: 'Bearer writer-token-0001' }
    const before = (await queuesOf('writer')).map(({ name }) => name)
    await node.submit(noops(1), token)
    await eventually(async () => {
      const names = (await queuesOf('writer')).map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['work.noop']))
    })
    const queue = await failedMessage('come-and-go')
    await eventually(async () => {
      expect((await queuesOf('reader')).map(({ name }) => name)).toContain(mailbox)
    })
    await connection.srem(keys.mailboxes, mailbox)
    await eventually(async () => {
      expect((await queuesOf('reader')).map(({ name }) => name)).not.toContain(mailbox)
    })
    expect(before).not.toContain(mailbox)
    await queue.obliterate({ force: true })
    await queue.close()
  })

  test('retries a failed message for those who may write, and for nobody else', async () => {
    const id = 'r-00000001.40~3~abc.2'
    const queue = await failedMessage(id)
    const path = `/api/queues/${mailbox}/${id}/retry`
    await eventually(async () => {
      expect((await queuesOf('writer')).map(({ name }) => name)).toContain(mailbox)
    })
    const refused = await as('reader', path, { method: 'PUT' })
    expect(refused.status).toBe(403)
    expect(await (await queue.getJob(id))?.getState()).toBe('failed')
    const taken = await as('writer', path, { method: 'PUT' })
    expect(taken.status).toBeLessThan(300)
    expect(await (await queue.getJob(id))?.getState()).not.toBe('failed')
    await queue.obliterate({ force: true })
    await queue.close()
  })

  test('is marked as read-only to those who may only read', async () => {
    const isReadOnly = async (role: 'writer' | 'reader') =>
      (await queuesOf(role)).every(({ readOnlyMode }) => readOnlyMode)
    expect([await isReadOnly('reader'), await isReadOnly('writer')]).toEqual([true, false])
  })

  test.each([
    ['PUT', `/api/queues/${mailbox}/obliterate`],
    ['PUT', `/api/queues/${mailbox}/empty`],
    ['PUT', `/api/queues/${mailbox}/clean/failed`],
    ['PUT', `/api/queues/${mailbox}/some-id/clean`],
    ['POST', `/api/queues/${mailbox}/add`],
    ['PATCH', `/api/queues/${mailbox}/some-id/update-data`],
  ])('takes no message away and changes none: %s %s', async (method, path) => {
    const refused = await as('writer', path, { method, body: '{}' })
    expect(await problemOf(refused)).toMatchObject({ status: 403, code: 'NOT_ON_THE_BOARD' })
  })

  test('tells what a message is about, and not what is in it', async () => {
    const queue = await failedMessage('told')
    await eventually(async () => {
      const answer = await as('reader', `/api/queues/${mailbox}/told`)
      const { job } = (await answer.json()) as { job: { name: string; data: unknown } }
      expect([job.name, job.data]).toEqual([
        'ghost of r-00000001',
        {
          kind: 'ghost',
          run: 'r-00000001',
          tasks: 3,
          firstSeq: 40,
          attempt: 2,
          priority: 'high',
        },
      ])
    })
    const list = await as('writer', `/api/queues?activeQueue=${mailbox}&status=failed`)
    expect(await list.text()).not.toContain('hunter2')
    expect(summaryOf('nonsense')).toEqual({ note: 'not an envelope' })
    await queue.obliterate({ force: true })
    await queue.close()
  })

  test('asks no other origin for anything', async () => {
    for (const path of ['', '/', `/queue/${mailbox}`]) {
      const page = await as('reader', path)
      expect([path, page.status]).toEqual([path, 200])
      expect(await page.text()).not.toMatch(/https?:\/\//)
      expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    }
  })

  test('is not there where there are no queues', async () => {
    const memory = await startNode({ ephemeral: true })
    try {
      const answer = await memory.ask('/board')
      expect(await problemOf(answer)).toMatchObject({ status: 404, code: 'NO_BOARD' })
    } finally {
      await memory.node.stop()
    }
  })
})
