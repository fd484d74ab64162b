/**
 * Where a node keeps results, and how it collects them: in files of its own, where one node of all
 * collects, or in a PostgreSQL that any of them writes to and reads.
 */
import { resolve } from 'node:path'
import { type CollectorOptions, collector } from '../actors/collector.ts'
import { connection } from '../actors/connection.ts'
import type { Tell } from '../actors/dead-letters.ts'
import { UsageError } from '../actors/errors.ts'
import type { Dependency, Log } from '../actors/ports.ts'
import type { Fence } from '../actors/ports-fleet.ts'
import { service } from '../actors/service.ts'
import type { ChildSpec, NamedChild } from '../actors/supervisor.ts'
import type { Config } from '../config/schema.ts'
import type { Shared } from './assembly.ts'
import { place } from './place.ts'
import { ResultsHome } from './results-home.ts'
import { stopMs } from './stop-tree.ts'
import { type PostgresResults, postgresResults } from './store/postgres.ts'
import { withWriterThread } from './store/writer-thread.ts'
import { auditOf, fileStores, memoryStores, type Stores } from './stores.ts'
import type { World } from './world.ts'

export interface NodeResultsOptions {
  config: Config
  dataDir: string
  ephemeral: boolean
  roles: readonly string[]
  /** This node, as members know it. */
  memberId: string
  world: World
  tell: Tell
  log: Log
}

/** What a collector needs beside what is here. */
export interface Collecting {
  shared: Shared
  node: string
  escalation: CollectorOptions['escalation']
  /** A child that lives only while this node leads. */
  led(lease: string, specOf: (fence: Fence) => ChildSpec): ChildSpec
}

/** Counting and storing what is at hand takes moments, or does not end. */
const collectMs = 2000
/** Looks whether PostgreSQL is back. */
const revival = { baseMs: 200, capMs: 5000, jitter: 0 }

export class NodeResults {
  readonly #options: NodeResultsOptions
  readonly #home: ResultsHome
  readonly #postgres: PostgresResults | undefined
  #stores: Stores | undefined

  /** @throws UsageError when store.url cannot be understood */
  constructor(options: NodeResultsOptions) {
    this.#options = options
    const { config, dataDir, ephemeral, memberId, world, log } = options
    const { url, connectionsMax, timeoutMs } = config.store
    if (url !== undefined && !ephemeral) {
      this.#postgres = postgresResults({ url, connectionsMax, timeoutMs, log })
    }
    this.#home = new ResultsHome({
      own: { node: memberId, place: place(), dataDir: resolve(dataDir) },
      leases: () => world.ports.leases,
      members: () => world.ports.members,
      staleMs: config.member.staleMs,
    })
  }

  /** @throws Error before the store is open */
  get stores(): Stores {
    if (this.#stores === undefined) throw new Error('expected the store to be open')
    return this.#stores
  }

  /** What tells it from other stores; undefined where it is files. */
  get storeId(): string | undefined {
    return this.#postgres?.id
  }

  /** Why nothing can be stored or read now, or undefined. */
  trouble(): string | undefined {
    return this.#postgres?.trouble()
  }

  /** The answer of the node that has the results; undefined when this one can give it. */
  async elsewhere(request: Request): Promise<Response | undefined> {
    return this.#postgres === undefined ? this.#home.answer(request) : undefined
  }

  /** The child `store`. */
  spec(): ChildSpec {
    const { config, dataDir, ephemeral, tell, log } = this.#options
    const files = { config, dataDir, log }
    if (this.#postgres !== undefined) {
      const dependency = this.#shared(this.#postgres)
      return connection({ name: 'store', dependency, backoff: revival, tell, log })
    }
    return service({
      tell,
      open: async () => {
        await this.#agree()
        this.#stores = ephemeral ? memoryStores() : withWriterThread(fileStores(files), files)
      },
      close: async () => this.#stores?.close(),
    })
  }

  /**
   * The child `collector`. Where all write to one store nobody has to lead: an outcome counts once
   * by its place in the outcome map, a row is there once by its key, and whoever stood still for a
   * while finds both as they are.
   */
  collector(collecting: () => Collecting): NamedChild {
    const make = (fence?: Fence) => this.#make(collecting(), fence)
    const spec = () => (this.#postgres === undefined ? collecting().led('collector', make) : make())
    return { id: 'collector', spec, stopTimeoutMs: stopMs.collector }
  }

  #make({ shared, node, escalation }: Collecting, fence: Fence | undefined): ChildSpec {
    const { batchMax, hangMs } = this.#options.config.collector
    const { results, audit } = this.stores
    return collector({
      ...shared,
      results,
      audit,
      ...(escalation === undefined ? {} : { escalation }),
      isAway: () => shared.isAway() || this.trouble() !== undefined,
      node,
      batchMax,
      hangMs,
      graceMs: () => collectMs,
      ...(fence === undefined
        ? {}
        : {
            announce: () => this.#home.announce(fence),
            fence: { lease: fence.lease, epoch: fence.epoch },
          }),
    })
  }

  /**
   * All who are alive keep results in the same store: else each collector would have some of the
   * rows of a run, and nobody all of them.
   */
  async #agree(): Promise<void> {
    const { world, config, roles, memberId } = this.#options
    if (roles.length === 0) return
    const others = await world.ports.members.list(config.member.staleMs)
    const other = others.find(
      ({ id, state, store }) => id !== memberId && state !== 'dead' && store !== this.storeId,
    )
    if (other === undefined) return
    const theirs = other.store === undefined ? 'files' : 'another PostgreSQL, or another database'
    const own = this.#postgres === undefined ? 'files' : this.#postgres.address
    throw new UsageError(
      `store.url: expected that of the nodes that are there, of which ${other.id} keeps results ` +
        `in ${theirs}, and this one would in ${own}; set it to the same on all nodes, ` +
        'or stop the others first',
    )
  }

  /** The audit log stays with whoever collects. */
  #shared(postgres: PostgresResults): Dependency {
    let close = () => Promise.resolve()
    return {
      open: async (listener) => {
        const audit = auditOf(this.#options)
        close = async () => {
          await audit.close()
          await postgres.close()
        }
        try {
          await postgres.open(listener)
          await this.#agree()
        } catch (error) {
          await close()
          throw error
        }
        this.#stores = { results: postgres.results, audit, close }
      },
      revive: () => postgres.revive(),
      close: () => close(),
    }
  }
}
