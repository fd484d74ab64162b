/**
 * Several nodes on one Redis, each with a scribe (scribe.ts). Between each and Redis there is a
 * proxy of its own; or each has a network of its own (namespaces.ts). They share a data directory,
 * as nodes on one host do.
 */
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'
import { doubleLeaders, Journal, staleWritesTaken, type Term } from './journal.ts'
import { type MusterProcess, startMusterNode } from './muster.ts'
import type { Network } from './namespaces.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { type RedisServer, startRedis } from './redis.ts'

/** Terms so short that a test need not wait for long. */
export const shortTerms: Record<string, string> = {
  MUSTER_LEASE_TTL_MS: '1750',
  MUSTER_LEASE_RENEW_MS: '500',
  MUSTER_LEASE_OPERATION_TIMEOUT_MS: '500',
}

export type FleetNode = MusterProcess & { readonly url: string }

export interface FleetOptions {
  /** Their ids; the first leads everything. */
  ids: readonly string[]
  env?: Record<string, string>
  appendfsync?: 'always' | 'everysec'
  /** With a host for each id. Then there are no proxies. */
  network?: Network
}

export class NodeFleet {
  readonly redis: RedisServer
  readonly dataDir = temporaryDirectory()
  readonly journal = new Journal(join(this.dataDir, 'journal.ndjson'))
  readonly #options: FleetOptions
  readonly #nodes = new Map<string, FleetNode>()
  readonly #proxies = new Map<string, RedisProxy>()

  private constructor(redis: RedisServer, options: FleetOptions) {
    this.redis = redis
    this.#options = options
  }

  /** Resolves when all are up, and the first one leads. */
  static async start(options: FleetOptions): Promise<NodeFleet> {
    const { ids, appendfsync = 'everysec', network } = options
    const host = network === undefined ? {} : { host: network.hub }
    const fleet = new NodeFleet(await startRedis({ appendfsync, ...host }), options)
    const [first = '', ...others] = ids
    try {
      await fleet.add(first)
      await fleet.leadership()
      await Promise.all(others.map((id) => fleet.add(id)))
    } catch (error) {
      await fleet.end()
      throw error
    }
    return fleet
  }

  /** Starts a node; one of the same id is to have ended. */
  async add(id: string): Promise<FleetNode> {
    const { network, env = {} } = this.#options
    const url = await this.#urlFor(id)
    const node = await startMusterNode({
      dataDir: this.dataDir,
      words: ['--tasks', join(import.meta.dir, 'scribe.ts')],
      env: {
        ...env,
        MUSTER_NODE_ID: id,
        MUSTER_REDIS_URL: url,
        SCRIBE_JOURNAL: this.journal.path,
        // Whoever is cut off from Redis writes to it all the same, where there is a way past.
        SCRIBE_REDIS_URL: network === undefined ? this.redis.url : url,
      },
      under: network?.host(id).under ?? [],
    })
    this.#nodes.set(id, node)
    return node
  }

  async #urlFor(id: string): Promise<string> {
    const { network } = this.#options
    if (network !== undefined) return `redis://${network.hub.address}:6379`
    await this.#proxies.get(id)?.stop()
    const proxy = await startProxy(this.redis.path)
    this.#proxies.set(id, proxy)
    return proxy.url
  }

  proxy(id: string): RedisProxy {
    const proxy = this.#proxies.get(id)
    if (proxy === undefined) throw new Error(`there is no proxy of node ${id}`)
    return proxy
  }

  node(id: string): FleetNode {
    const node = this.#nodes.get(id)
    if (node === undefined) throw new Error(`there is no node ${id}`)
    return node
  }

  /** Resolves with the first term of a later epoch, once Redis takes what its leader writes. */
  leadership(afterEpoch = 0, timeoutMs = 30_000): Promise<Term> {
    return eventually(
      () => {
        const term = this.journal.terms.find(({ epoch }) => epoch > afterEpoch)
        if (term === undefined) throw new Error(`nobody leads after epoch ${afterEpoch}`)
        const isTaken = (way: string) => term.written.some(({ by }) => by === way)
        if (!isTaken('fence') || !isTaken('hand')) throw new Error('nothing is written yet')
        return term
      },
      { timeoutMs },
    )
  }

  /** What went wrong so far: two leaders at once, or a stale write that was taken. */
  get faults(): { doubleLeaders: string[]; staleWritesTaken: string[] } {
    const { terms } = this.journal
    return { doubleLeaders: doubleLeaders(terms), staleWritesTaken: staleWritesTaken(terms) }
  }

  /** Ends everything, whatever state it is in. */
  async end(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map(({ kill }) => kill('SIGKILL')))
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.stop()))
    // It cannot have heard of the end of connections that were cut off then.
    if (this.#options.network !== undefined) await this.redis.kill()
    await this.redis.stop()
  }
}
