import { afterAll, afterEach, beforeAll, describe } from 'bun:test'
import { Redis } from 'ioredis'
import type { Log } from '../../actors/ports.ts'
import { bullMailboxes } from '../../runtime/mailbox/bullmq.ts'
import { memoryMailboxes } from '../../runtime/memory/mailboxes.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { ageConformance } from './mailbox-age.ts'
import { nameConformance } from './mailbox-names.ts'
import { deliveryConformance, type OpenMailboxes } from './mailboxes.ts'
import { priorityConformance } from './priorities.ts'
import { receiverConformance } from './receivers.ts'

const giveBackAfterMs = 20

describe('mailboxes in memory', () => {
  const open: OpenMailboxes = async () => memoryMailboxes({ giveBackAfterMs })
  describe('delivery', () => deliveryConformance(open))
  describe('priorities', () => priorityConformance(open))
  describe('ages', () => ageConformance(open))
  describe('names', () => nameConformance(open))
  describe('receivers', () => receiverConformance(open))
})

describe('mailboxes on BullMQ', () => {
  let server: RedisServer
  const opened: Redis[] = []
  beforeAll(async () => {
    server = await startRedis()
  })
  afterEach(async () => {
    for (const redis of opened.splice(0)) redis.disconnect()
  })
  afterAll(() => server.stop())

  const open: OpenMailboxes = async () => {
    const connect = (name: string) => {
      const redis = new Redis(server.path, { connectionName: name, maxRetriesPerRequest: null })
      opened.push(redis)
      return redis
    }
    await connect('flush').flushall()
    return bullMailboxes({
      connect: (purpose) => connect(purpose.replaceAll(':', '-')),
      // Long enough that a message which needs its lock to end comes noticeably late.
      lockMs: 12_000,
      stalledIntervalMs: 5000,
      giveBackAfterMs,
      log: quiet,
    })
  }
  describe('delivery', () => deliveryConformance(open))
  describe('priorities', () => priorityConformance(open))
  describe('ages', () => ageConformance(open))
  describe('names', () => nameConformance(open))
  describe('receivers', () => receiverConformance(open))
})

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} }
