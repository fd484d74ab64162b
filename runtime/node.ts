/**
 * A node: one process holding one supervision tree. This file puts it together and knows the order
 * of things; what they do is elsewhere.
 */
import { hostname } from 'node:os'
import { type AnyActorRef, createActor } from 'xstate'
import { collector } from '../actors/collector.ts'
import { type Dispatcher, dispatcher } from '../actors/dispatcher.ts'
import { describeError, UnavailableError } from '../actors/errors.ts'
import type { Kind, TaskDefinition } from '../actors/kind.ts'
import { Paces } from '../actors/paces.ts'
import type { AuditLog, Log, Results } from '../actors/ports.ts'
import { service } from '../actors/service.ts'
import { isReady, type NamedChild, rootCause, supervisor } from '../actors/supervisor.ts'
import { type TreeNode, treeOf } from '../actors/tree.ts'
import { workersSupervisor } from '../actors/workers.ts'
import type { Config } from '../config/schema.ts'
import { defaultPolicy, type SupervisorPolicy } from '../machines/supervision.ts'
import { systemClock } from './clock.ts'
import { makeDataDirectory } from './data-directory.ts'
import { driverName, isDriverGone } from './driver.ts'
import { httpApp } from './http/app.ts'
import { RunFeed } from './http/feed.ts'
import { type HttpServer, httpServer } from './http/server.ts'
import { readToken } from './http/token.ts'
import { idleSettings } from './idle-settings.ts'
import { kindsOf } from './kinds.ts'
import { pinoLog } from './log/pino.ts'
import { chooseNodeId, removeNodeFile, writeNodeFile } from './node-file.ts'
import { newRunId } from './run-id.ts'
import { fileStores, memoryStores } from './stores.ts'
import { readTasksFile } from './tasks-file.ts'
import { memoryWorld, redisWorld, type World } from './world.ts'

export type Role = 'dispatcher' | 'worker' | 'collector'

export interface NodeOptions {
  config: Config
  dataDir: string
  /** Everything in memory, nothing durable. */
  ephemeral?: boolean
  /** Default: those of the configuration. None: only to read. */
  roles?: readonly Role[]
  /** Open the port and be found by the command line. */
  listen?: boolean
  tasksFiles?: readonly string[]
  tasks?: readonly TaskDefinition[]
  /** One line for people, now and then. */
  say?: (line: string) => void
  log?: Log
}

export interface MusterNode {
  readonly id: string
  /** Where it listens, once started with `listen`. */
  readonly url: string | undefined
  /**
   * Resolves when everything is up; again while it is, does nothing.
   * @throws UnavailableError, DataDirectoryError, UsageError or NotFoundError when it cannot come
   * up, or is stopped meanwhile or before
   */
  start(): Promise<void>
  /** Drains: waits at most `graceMs` for the tasks at hand, then hands the rest back. */
  stop(graceMs?: number): Promise<void>
  /** The HTTP interface without a socket. */
  fetch(request: Request): Promise<Response>
  /** The exit code, once it has stopped: 0 drained, 70 when it could not go on. */
  readonly stopped: Promise<number>
}

/** Longer than a node may take to drain. */
const policy: SupervisorPolicy = { ...defaultPolicy, stopTimeoutMs: 20_000 }
const rootPolicy: SupervisorPolicy = { ...policy, intensity: 3, windowMs: 60_000 }
const drainMs = 12_000
/** Counting and storing what is at hand takes moments, or does not end. */
const collectMs = 2000
const poisonKills = 2
const runsMax = 100
/** A piece of a source waits so long for its turn before it goes to the spool. */
const patienceMs = 250

export function createNode(options: NodeOptions): MusterNode {
  return new Node(options)
}

class Node implements MusterNode {
  readonly stopped: Promise<number>
  readonly #options: NodeOptions
  readonly #log: Log
  readonly #roles: readonly Role[]
  readonly #exit = Promise.withResolvers<number>()
  /** What to undo, in reverse, when the tree is down. */
  readonly #undo: (() => Promise<void> | void)[] = []
  #id: string
  readonly #drain = new AbortController()
  /** Monotonic ms at which what is still running is handed back. */
  #stopBy = 0
  #world: World | undefined
  #dispatcher: Dispatcher | undefined
  #tree: AnyActorRef | undefined
  #server: HttpServer | undefined
  #app: ReturnType<typeof httpApp> | undefined
  #starting: Promise<void> | undefined
  /** What the tree stands on: there, or failed. */
  #opened: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | undefined

  constructor(options: NodeOptions) {
    const { config } = options
    this.#options = options
    this.#id = config.node.id ?? hostname()
    this.#log = options.log ?? pinoLog(options.listen === true ? config.log.level : 'warn', {})
    this.#roles = options.roles ?? config.node.roles
    this.stopped = this.#exit.promise
  }

  get id(): string {
    return this.#id
  }

  get url(): string | undefined {
    return this.#server?.url
  }

  async fetch(request: Request): Promise<Response> {
    if (this.#app === undefined) throw new UnavailableError(`node ${this.#id} is not started`)
    return this.#app.fetch(request)
  }

  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#refuseWhenStopping()
    const opened = this.#open()
    this.#opened = opened.then(
      () => undefined,
      () => undefined,
    )
    const { kinds, results, audit, token } = await opened
    this.#refuseWhenStopping()
    await this.#startTree(kinds, results, audit, token)
  }

  async #open() {
    const { config, dataDir, ephemeral, listen, tasksFiles, tasks } = this.#options
    for (const path of idleSettings(config)) {
      this.#say(`${path} is set and has no effect: this version does not act on it`)
    }
    const token = readToken(config.http.tokenFile)
    if (ephemeral !== true) makeDataDirectory(dataDir)
    if (listen === true) this.#id = chooseNodeId(dataDir, config.node.id, hostname())
    const fromFiles = await Promise.all((tasksFiles ?? []).map(readTasksFile))
    const definitions = [...(tasks ?? []), ...fromFiles.flat()]
    const kinds = kindsOf(definitions, config.worker, this.#log)
    const stores = ephemeral === true ? memoryStores() : fileStores(config, dataDir, this.#log)
    this.#undo.push(() => stores.close())
    this.#world = await this.#openWorld()
    this.#undo.push(() => this.#world?.close())
    return { kinds, ...stores, token }
  }

  #refuseWhenStopping(): void {
    if (this.#stopping === undefined) return
    throw new UnavailableError(`node ${this.#id} was stopped; make a new one`, { code: 'STOPPED' })
  }

  stop(graceMs = drainMs): Promise<void> {
    this.#stopBy = systemClock.monotonic() + graceMs
    this.#stopping ??= this.#stop(0)
    return this.#stopping
  }

  async #stop(exitCode: number): Promise<void> {
    this.#dispatcher?.closeIntake()
    this.#drain.abort()
    // What is still coming up would outlive us.
    await this.#opened
    const tree = this.#tree
    if (tree !== undefined && tree.getSnapshot().status === 'active') {
      const ended = Promise.withResolvers<void>()
      tree.subscribe({ complete: () => ended.resolve(), error: () => ended.resolve() })
      tree.send({ type: 'stop' })
      await ended.promise
    }
    for (const undo of this.#undo.toReversed()) await this.#undoOne(undo)
    this.#exit.resolve(exitCode)
  }

  /** What cannot be put away (the disk is full, say) keeps nothing else from being put away. */
  async #undoOne(undo: () => Promise<void> | void): Promise<void> {
    try {
      await undo()
    } catch (error) {
      this.#log.warn(describeError(error), 'something could not be stopped in order')
    }
  }

  #openWorld(): Promise<World> | World {
    const { config, dataDir, ephemeral } = this.#options
    if (ephemeral === true) {
      this.#say('ephemeral: everything is in memory and is gone when this process ends')
      return memoryWorld()
    }
    return redisWorld({ config, dataDir, log: this.#log, say: (line) => this.#say(line) })
  }

  #describeTree(): TreeNode {
    if (this.#tree === undefined) throw new UnavailableError(`node ${this.#id} is not started`)
    return treeOf(this.#tree, this.#id, process.pid)
  }

  #say(line: string): void {
    this.#options.say?.(line)
  }

  async #startTree(
    kinds: ReadonlyMap<string, Kind>,
    results: Results,
    audit: AuditLog,
    token: string | undefined,
  ): Promise<void> {
    const world = this.#world
    if (world === undefined) return
    const tree = supervisor({
      id: 'node',
      policy: rootPolicy,
      children: this.#children(world, kinds, results, audit, token),
      clock: systemClock,
      random: Math.random,
      log: this.#log,
    })
    const actor = createActor(tree.logic, { input: tree.input }) as AnyActorRef
    this.#tree = actor
    const ready = Promise.withResolvers<void>()
    actor.subscribe({
      next: (snapshot: unknown) => {
        if (isReady(snapshot)) ready.resolve()
      },
      error: (error: unknown) => {
        ready.reject(rootCause(error))
        this.#log.error({ error: String(error) }, 'this node cannot go on')
        this.#stopping ??= this.#stop(70)
      },
      complete: () => {
        const message = `node ${this.#id} was stopped while it started`
        ready.reject(new UnavailableError(message, { code: 'STOPPED' }))
      },
    })
    actor.start()
    await ready.promise
  }

  #children(
    world: World,
    kinds: ReadonlyMap<string, Kind>,
    results: Results,
    audit: AuditLog,
    token: string | undefined,
  ): NamedChild[] {
    const { config } = this.#options
    const { accounting, mailboxes } = world.ports
    const log = this.#log
    const paces = new Paces(world.ports.admission, systemClock)
    const shared = { mailboxes, accounting, clock: systemClock, random: Math.random, log }
    const children: NamedChild[] = []
    // Stopped in reverse: what the workers settle last still finds its collector.
    if (this.#roles.includes('dispatcher')) {
      const made = this.#makeDispatcher(world, kinds, paces)
      this.#dispatcher = made
      children.push({ id: 'dispatcher', spec: () => made.spec() })
    }
    if (this.#roles.includes('collector')) {
      const { batchMax } = config.collector
      const spec = () =>
        collector({ ...shared, batchMax, graceMs: () => collectMs, results, audit })
      children.push({ id: 'collector', spec })
    }
    if (this.#roles.includes('worker')) {
      const { retryBaseMs, retryCapMs } = config.worker
      const workers = workersSupervisor({
        ...shared,
        kinds,
        node: this.#id,
        retry: { baseMs: retryBaseMs, capMs: retryCapMs, jitter: 0 },
        poisonKills,
        drain: this.#drain.signal,
        graceMs: () => Math.max(0, this.#stopBy - systemClock.monotonic()),
        paces,
        policy,
      })
      children.push({ id: 'workers', spec: () => workers })
    }
    children.push({ id: 'edge', spec: () => this.#edge(world, kinds, results, token) })
    return children
  }

  #makeDispatcher(world: World, kinds: ReadonlyMap<string, Kind>, paces: Paces): Dispatcher {
    const { dispatcher: limits, worker, mailbox } = this.#options.config
    const together = Math.min(worker.envelopeTasksMax, limits.queueMax, mailbox.depthMax)
    return dispatcher({
      ...world.ports,
      clock: systemClock,
      log: this.#log,
      driver: driverName(),
      isGone: isDriverGone,
      newRunId: () => newRunId(systemClock.now()),
      rate: limits.rate,
      burst: limits.burst,
      inFlightMax: limits.queueMax,
      depthMax: mailbox.depthMax,
      spoolMax: Math.min(limits.spoolMax, mailbox.depthMax),
      whenFull: limits.whenFull,
      runsMax,
      patienceMs,
      resumesLeftovers: this.#options.listen !== true,
      paces,
      pack: {
        tasksMax: together,
        bytesMax: worker.envelopeBytesMax,
        keyPartitions: mailbox.keyPartitions,
        tasksOf: (kind) =>
          Math.floor(worker.envelopeMs / paces.of(kind, kinds.get(kind)?.paceMs ?? 1)),
      },
    })
  }

  #edge(
    world: World,
    kinds: ReadonlyMap<string, Kind>,
    results: Results,
    token: string | undefined,
  ) {
    const { config, dataDir, listen } = this.#options
    const { accounting } = world.ports
    const feed = new RunFeed(accounting, systemClock)
    return service({
      open: async () => {
        await feed.open()
        const app = httpApp({
          accounting,
          results,
          dispatcher: this.#dispatcher,
          feed,
          kinds,
          lingerMs: config.worker.lingerMs,
          clock: systemClock,
          log: this.#log,
          tree: () => this.#describeTree(),
          unready: () => {
            const trouble = world.trouble()
            return [
              ...(trouble === undefined ? [] : [trouble]),
              ...(this.#dispatcher?.accepting === false ? ['draining'] : []),
            ]
          },
        })
        this.#app = app
        if (listen !== true) return
        const { host, port } = config.http
        this.#server = httpServer({
          host,
          port,
          ...(token === undefined ? {} : { token }),
          handle: (request) => app.fetch(request),
        })
        const { url } = this.#server
        try {
          const startedAt = systemClock.now()
          writeNodeFile(dataDir, { id: this.#id, pid: process.pid, url, startedAt })
        } catch (error) {
          await this.#server.stop()
          throw error
        }
        this.#say(
          `node ${this.#id} listens on ${url}, data in ${dataDir}, Redis at ${world.address}`,
        )
      },
      close: async () => {
        if (listen === true) removeNodeFile(dataDir, this.#id)
        await feed.close()
        await this.#server?.stop()
      },
    })
  }
}
