/** The ports of a node, on Redis or in memory, and how they come up and go down. */
import type { Redis } from 'ioredis'
import { UsageError } from '../actors/errors.ts'
import type { Accounting, Admission, Log, Mailboxes } from '../actors/ports.ts'
import type { Config } from '../config/schema.ts'
import { hidePassword } from '../config/secret.ts'
import { systemClock } from './clock.ts'
import { bullMailboxes } from './mailbox/bullmq.ts'
import { memoryAccounting } from './memory/accounting.ts'
import { memoryMailboxes } from './memory/mailboxes.ts'
import { redisAccounting } from './redis/accounting.ts'
import { redisAdmission } from './redis/admission.ts'
import { connectOrFail, parseRedisUrl, redisClient } from './redis/client.ts'
import { type EmbeddedRedis, embeddedRedis } from './redis/embedded.ts'
import { findOrInstallServer } from './redis/install.ts'

export interface Ports {
  mailboxes: Mailboxes
  accounting: Accounting
  admission: Admission
}

/** What a node stands on. */
export interface World {
  /** Where that is, for people. */
  address: string
  ports: Ports
  /** Why it cannot be used now, or undefined. */
  trouble(): string | undefined
  close(): Promise<void>
}

/** Outcome maps of finished runs are kept a day, to tell late duplicates from news. */
const mapKeepMs = 24 * 3_600_000
/** Redis away at start is told within 5 s. */
const connectMs = 4000

export function memoryWorld(): World {
  const mailboxes = memoryMailboxes()
  return {
    address: 'memory',
    ports: { mailboxes, ...memoryAccounting(() => systemClock.now()) },
    trouble: () => undefined,
    close: () => mailboxes.close(),
  }
}

export interface RedisWorldOptions {
  config: Config
  dataDir: string
  log: Log
  say(line: string): void
}

/**
 * @throws UnavailableError when Redis cannot be reached or started
 */
export async function redisWorld(options: RedisWorldOptions): Promise<World> {
  const { config, log } = options
  const url = config.redis.url
  if (url !== undefined) return connectWorld(options, url, undefined)
  const embedded = embeddedRedis({
    dataDir: options.dataDir,
    durability: config.redis.durability,
    ...(config.redis.maxMemoryBytes > 0 ? { maxMemoryBytes: config.redis.maxMemoryBytes } : {}),
    findServer: () => findOrInstallServer({ say: options.say }),
    log,
  })
  const server = await embedded.ensure()
  try {
    return await connectWorld(options, server.url, embedded)
  } catch (error) {
    await embedded.release()
    throw error
  }
}

async function connectWorld(
  options: RedisWorldOptions,
  url: string,
  embedded: EmbeddedRedis | undefined,
): Promise<World> {
  const { config, log } = options
  if (parseRedisUrl(url).kind === 'cluster') {
    throw new UsageError('redis.url: expected a single Redis or a Sentinel, got a Redis Cluster')
  }
  const clients: Redis[] = []
  const connect = (name: string, kind: 'command' | 'blocking' | 'subscriber'): Redis => {
    const client = redisClient(url, { name, kind }, { log }) as Redis
    clients.push(client)
    return client
  }
  const redis = connect('node', 'command')
  const subscriber = connect('notices', 'subscriber')
  let closed = false
  const closeClients = () => {
    closed = true
    for (const client of clients) client.disconnect()
  }
  try {
    await Promise.all([redis, subscriber].map((client) => connectOrFail(client, connectMs)))
  } catch (error) {
    closeClients()
    throw error
  }
  if (embedded !== undefined) {
    redis.on('close', () => {
      if (!closed) void reviveServer(embedded, log, () => closed)
    })
  }
  const mailboxes = bullMailboxes({
    connect,
    lockMs: config.mailbox.lockMs,
    stalledIntervalMs: config.mailbox.stalledIntervalMs,
    log,
  })
  if (embedded !== undefined) {
    const reclaimed = await mailboxes.reclaim(() => isAlone(redis))
    if (reclaimed > 0) log.info({ reclaimed }, 'messages of a killed process are delivered again')
  }
  return {
    address: hidePassword(url),
    ports: {
      mailboxes,
      accounting: redisAccounting({ redis, subscriber, now: () => systemClock.now(), mapKeepMs }),
      admission: redisAdmission(redis),
    },
    trouble: () =>
      redis.status === 'ready'
        ? undefined
        : `Redis at ${hidePassword(url)} is away (${redis.status})`,
    async close() {
      await mailboxes.close()
      closeClients()
      await embedded?.release()
    },
  }
}

/** Every process on an embedded Redis holds one connection of this name; one is ours. */
async function isAlone(redis: Redis): Promise<boolean> {
  const clients = String(await redis.client('LIST'))
  return clients.split('\n').filter((line) => line.includes(' name=muster:anchor ')).length === 1
}

/** The server of our data directory is gone: bring it back, as often as it takes. */
async function reviveServer(
  embedded: EmbeddedRedis,
  log: Log,
  isClosed: () => boolean,
): Promise<void> {
  for (let waitMs = 200; !isClosed(); waitMs = Math.min(waitMs * 2, 5000)) {
    try {
      const { started } = await embedded.ensure()
      if (started) log.warn({}, 'the embedded Redis was gone and has been started again')
      return
    } catch (error) {
      log.error({ error: String(error), waitMs }, 'the embedded Redis cannot be started')
    }
    await systemClock.wait(waitMs)
  }
}
