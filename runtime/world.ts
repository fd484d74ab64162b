/** The ports of a node, on Redis or in memory, and how they come up and go down. */
import type { Redis } from 'ioredis'
import { UnavailableError } from '../actors/errors.ts'
import type { Admission, Dependency, DependencyListener, Log, Mailboxes } from '../actors/ports.ts'
import type { Escalations } from '../actors/ports-escalations.ts'
import type { Leases, Members } from '../actors/ports-fleet.ts'
import type { Letters } from '../actors/ports-letters.ts'
import type { Headroom, Limits } from '../actors/ports-limits.ts'
import type { Accounting } from '../actors/ports-runs.ts'
import type { Inspection, SystemLog } from '../actors/ports-system.ts'
import type { Topics } from '../actors/ports-topics.ts'
import type { Config } from '../config/schema.ts'
import { hidePassword } from '../config/secret.ts'
import { systemClock } from './clock.ts'
import { type BullMailboxes, bullMailboxes } from './mailbox/bullmq.ts'
import { memoryAccounting } from './memory/accounting.ts'
import { memoryEscalations } from './memory/escalations.ts'
import { memoryHeadroom } from './memory/headroom.ts'
import { emptyLeaseStore, memoryLeases } from './memory/leases.ts'
import { memoryLetters } from './memory/letters.ts'
import { memoryLimits } from './memory/limits.ts'
import { memoryMailboxes } from './memory/mailboxes.ts'
import { memoryMembers } from './memory/members.ts'
import { memoryInspection, memorySystemLog } from './memory/system.ts'
import { memoryTopics } from './memory/topics.ts'
import { redisAccounting } from './redis/accounting.ts'
import { redisAdmission } from './redis/admission.ts'
import { connectOrFail, parseRedisUrl, redisClient } from './redis/client.ts'
import { type EmbeddedRedis, embeddedRedis } from './redis/embedded.ts'
import { redisEscalations } from './redis/escalations.ts'
import { agreedSlots } from './redis/hash-slots.ts'
import { findOrInstallServer } from './redis/install.ts'
import { SlotKeys } from './redis/keys.ts'
import { redisLeases } from './redis/leases.ts'
import { redisLetters } from './redis/letters.ts'
import { redisLimits } from './redis/limits.ts'
import { redisMembers } from './redis/members.ts'
import { MemoryWatch } from './redis/memory-watch.ts'
import { Pulse } from './redis/pulse.ts'
import { redisInspection, redisSystemLog } from './redis/system.ts'
import { redisTopics } from './redis/topics.ts'
import { newRunId } from './run-id.ts'

export interface Ports {
  mailboxes: Mailboxes
  letters: Letters
  accounting: Accounting
  admission: Admission
  headroom: Headroom
  limits: Limits
  members: Members
  leases: Leases
  escalations: Escalations
  systemLog: SystemLog
  inspection: Inspection
  topics: Topics
}

/** What a node stands on, once it is open. */
export interface World extends Dependency {
  /** Where that is, for people. */
  readonly address: string
  /** @throws UnavailableError before it is open */
  readonly ports: Ports
  /** @param twin by what a run is found that is the same: a key, or the content of its source */
  newRunId(twin?: string): string
  /** Why it cannot be used now, or undefined. */
  trouble(): string | undefined
  /**
   * The queues behind the mailboxes; none in memory.
   * @throws UnavailableError while they cannot be asked
   */
  readonly queues: Pick<BullMailboxes, 'names' | 'queue'> | undefined
}

/** Outcome maps of finished runs are kept a day, to tell late duplicates from news. */
const mapKeepMs = 24 * 3_600_000
/** Redis away at start is told within 5 s. */
const connectMs = 3000

export function memoryWorld({ config, log }: { config: Config; log: Log }): World {
  const mailboxes = memoryMailboxes()
  const now = () => systemClock.now()
  const store = emptyLeaseStore()
  const leases = memoryLeases({ now, log, store })
  const accounts = memoryAccounting(now, (lease) => store.epochs.get(lease) ?? 0)
  return {
    address: 'memory',
    ports: {
      mailboxes,
      letters: memoryLetters(),
      ...accounts,
      headroom: memoryHeadroom(),
      limits: memoryLimits(() => systemClock.monotonic()),
      members: memoryMembers(now),
      leases,
      escalations: memoryEscalations(now, config.escalation),
      systemLog: memorySystemLog(),
      inspection: memoryInspection(),
      topics: memoryTopics({ log }),
    },
    newRunId: () => newRunId(now()),
    trouble: () => undefined,
    queues: undefined,
    open: () => Promise.resolve(),
    revive: () => Promise.resolve(),
    close: () => mailboxes.close(),
  }
}

export interface RedisWorldOptions {
  config: Config
  dataDir: string
  log: Log
  /** The lock on a message of a mailbox ended, and it is delivered again. */
  onStalled(mailbox: string): void
  /** Messages are about to be taken under this name. */
  onHolder(holder: string): void
  say(line: string): void
}

/** @throws UsageError when the URL cannot be used */
export function redisWorld(options: RedisWorldOptions): World {
  return new RedisWorld(options)
}

interface Opened {
  redis: Redis
  pulse: Pulse
  memory: MemoryWatch
  clients: Redis[]
  mailboxes: BullMailboxes
  slotKeys: SlotKeys
  ports: Ports
}

class RedisWorld implements World {
  readonly #options: RedisWorldOptions
  readonly #embedded: EmbeddedRedis | undefined
  #url: string | undefined
  #opened: Opened | undefined
  #isClosed = false

  constructor(options: RedisWorldOptions) {
    const { redis } = options.config
    this.#options = options
    this.#url = redis.url
    // Refused at once, not when it is needed.
    if (redis.url !== undefined) parseRedisUrl(redis.url)
    if (redis.url !== undefined) return
    this.#embedded = embeddedRedis({
      dataDir: options.dataDir,
      durability: redis.durability,
      ...(redis.maxMemoryBytes > 0 ? { maxMemoryBytes: redis.maxMemoryBytes } : {}),
      findServer: () => findOrInstallServer({ say: options.say }),
      log: options.log,
    })
  }

  get address(): string {
    return this.#url === undefined ? 'a Redis of its own' : hidePassword(this.#url)
  }

  get ports(): Ports {
    if (this.#opened === undefined) throw new UnavailableError(`${this.address} is not open`)
    return this.#opened.ports
  }

  get queues(): BullMailboxes {
    const trouble = this.trouble()
    if (this.#opened !== undefined && trouble === undefined) return this.#opened.mailboxes
    throw new UnavailableError(trouble ?? `${this.address} is not open`)
  }

  newRunId(twin?: string): string {
    const { slotKeys } = this.#opened ?? {}
    const now = systemClock.now()
    if (slotKeys === undefined || twin === undefined) return newRunId(now)
    const slot = slotKeys.slotOf(twin)
    return newRunId(now, (id) => slotKeys.slotOf(id) === slot)
  }

  trouble(): string | undefined {
    const { redis, pulse } = this.#opened ?? {}
    if (redis?.status !== 'ready') {
      return `Redis at ${this.address} is away (${redis?.status ?? 'not open'})`
    }
    return pulse?.isSilent === true ? `Redis at ${this.address} does not answer` : undefined
  }

  async open(listener: DependencyListener): Promise<void> {
    this.#isClosed = false
    if (this.#embedded !== undefined) this.#url = (await this.#embedded.ensure()).url
    try {
      await this.#connect(listener)
    } catch (error) {
      await this.#embedded?.release()
      throw error
    }
  }

  async revive(): Promise<void> {
    const server = await this.#embedded?.ensure()
    if (server?.started === true) {
      this.#options.log.warn({}, 'the embedded Redis was gone and has been started again')
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#opened?.pulse.stop()
    this.#opened?.memory.stop()
    await this.#opened?.ports.topics.close()
    await this.#opened?.mailboxes.close()
    await this.#opened?.ports.leases.close()
    await this.#opened?.ports.escalations.close()
    for (const client of this.#opened?.clients ?? []) client.disconnect()
    await this.#embedded?.release()
  }

  async #connect({ lost, back }: DependencyListener): Promise<void> {
    const { config, log, onStalled, onHolder } = this.#options
    const url = this.#url ?? ''
    const clients: Redis[] = []
    const connect = (name: string, kind: 'command' | 'blocking' | 'subscriber'): Redis => {
      const client = redisClient(url, { name, kind }, { log }) as Redis
      clients.push(client)
      return client
    }
    const redis = connect('node', 'command')
    const subscriber = connect('notices', 'subscriber')
    let slotKeys: SlotKeys
    try {
      await Promise.all([redis, subscriber].map((client) => connectOrFail(client, connectMs)))
      slotKeys = new SlotKeys(await agreedSlots(redis, config.redis.hashSlots))
    } catch (error) {
      for (const client of clients) client.disconnect()
      throw error
    }
    redis.on('close', () => {
      if (!this.#isClosed) lost()
    })
    redis.on('ready', back)
    const { lockMs, stalledIntervalMs } = config.mailbox
    const mailboxes = bullMailboxes({
      connect,
      slotKeys,
      lockMs,
      stalledIntervalMs,
      log,
      onStalled,
      onHolder,
    })
    if (this.#embedded !== undefined) {
      const messages = await mailboxes.reclaimAbandoned(() => isAlone(redis))
      if (messages > 0) log.info({ messages }, 'messages of a killed process are delivered again')
    }
    const now = () => systemClock.now()
    const { operationTimeoutMs } = config.lease
    const { staleMs } = config.member
    const memory = new MemoryWatch({ redis, closeShare: config.redis.memoryCloseShare, log })
    const ports = {
      mailboxes,
      letters: redisLetters({ redis }),
      accounting: redisAccounting({ redis, slotKeys, subscriber, now, mapKeepMs }),
      admission: redisAdmission(redis, slotKeys),
      headroom: memory,
      limits: redisLimits(redis),
      members: redisMembers({ redis, subscriber, timeoutMs: operationTimeoutMs }),
      leases: redisLeases({ url, operationTimeoutMs, slotKeys, log }),
      systemLog: redisSystemLog({ redis, subscriber, timeoutMs: operationTimeoutMs }),
      inspection: redisInspection({ redis, timeoutMs: operationTimeoutMs }),
      topics: redisTopics({ redis, timeoutMs: operationTimeoutMs, staleMs, log }),
      escalations: redisEscalations({
        url,
        shape: config.escalation,
        operationTimeoutMs,
        log,
      }),
    }
    const silent = () => {
      log.warn({ redis: this.address }, 'Redis does not answer, though it is connected')
      lost()
    }
    const pulse = new Pulse(redis, { silent, heard: back })
    this.#opened = { redis, pulse, memory, clients, mailboxes, slotKeys, ports }
  }
}

/** Every process on an embedded Redis holds one connection of this name; one is ours. */
async function isAlone(redis: Redis): Promise<boolean> {
  const clients = String(await redis.client('LIST'))
  return clients.split('\n').filter((line) => line.includes(' name=muster:anchor ')).length === 1
}
