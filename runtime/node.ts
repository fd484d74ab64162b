/**
 * A node: one process holding one supervision tree. This file is its life, from the first problem
 * that keeps it from starting to its exit code; what is in the tree is in assembly.ts.
 */
import { hostname } from 'node:os'
import { type AnyActorRef, createActor } from 'xstate'
import type { DeadLetter } from '../actors/dead-letters.ts'
import { describeError, UnavailableError } from '../actors/errors.ts'
import type { Kind, TaskDefinition } from '../actors/kind.ts'
import { heartbeatOf } from '../actors/load.ts'
import { DisplacedError } from '../actors/membership.ts'
import type { Heartbeat, Log } from '../actors/ports.ts'
import type { DurableGroup } from '../actors/ports-topics.ts'
import type { Publish } from '../actors/publisher.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import type { SubscriptionDefinition } from '../actors/subscription-work.ts'
import { isReady, rootCause, supervisor, verdictOf } from '../actors/supervisor.ts'
import { Throttle } from '../actors/throttle.ts'
import { type TreeNode, treeOf } from '../actors/tree.ts'
import type { Config } from '../config/schema.ts'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import { Assembly, policy, type Role } from './assembly.ts'
import { systemClock } from './clock.ts'
import { makeDataDirectory } from './data-directory.ts'
import { type Definitions, readDefinitions, refuseSplitting } from './definitions.ts'
import { keepProcess } from './execute/stray-errors.ts'
import { ownRequest } from './http/access.ts'
import { tokensOf } from './http/server.ts'
import type { Token } from './http/token.ts'
import { kindsOf } from './kinds.ts'
import { unknownLimits } from './limit-names.ts'
import { type NodeLog, type NodeLogOptions, nodeLog } from './log/node-log.ts'
import { chooseNodeId } from './node-file.ts'
import { forceTree, stopTree } from './stop-tree.ts'
import { type Counted, Telemetry } from './telemetry/telemetry.ts'
import { nodePublisher } from './topics.ts'
import { memoryWorld, type Ports, redisWorld, type World } from './world.ts'

export interface NodeOptions extends Pick<NodeLogOptions, 'logSink'> {
  config: Config
  dataDir: string
  /** Everything in memory, nothing durable. */
  ephemeral?: boolean
  /** Default: those of the configuration. None: only to read. */
  roles?: readonly Role[]
  /** Open the port and be found by the command line. */
  listen?: boolean
  /** Work that is done by one node of all. */
  singletons?: readonly SingletonDefinition[]
  /** Subscriptions to topics, and bridges between them. */
  subscriptions?: readonly SubscriptionDefinition[]
  /** This is a worker process of the node `config.node.id`: its name. Only workers. */
  process?: string
  /** Then also the id under which others know the node. */
  member?: string
  /** It is about to take messages under this name. */
  onHolder?: (holder: string) => void
  /** Whether it runs tasks now that may have taken their worker down before. */
  onSuspected?: (isSuspected: boolean) => void
  tasksFiles?: readonly string[]
  tasks?: readonly TaskDefinition[]
  /** Somebody asked this node to go; by default it drains, as by `stop`. */
  onDrainAsked?: () => void
  /** One line for people, now and then. */
  say?: (line: string) => void
  /** It has the process for itself: see `keepProcess`. */
  ownsProcess?: 'alone' | 'supervised'
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
  /**
   * Drains: waits at most `graceMs` for the tasks at hand, hands the rest back, and is down within
   * 25 s. Again, with a shorter time: that one counts.
   */
  stop(graceMs?: number): Promise<void>
  /** Its actors, and what it has at hand, as of now. */
  heartbeat(): Heartbeat
  /** With what share of its rate and its concurrency it works: for a worker process. */
  readonly throttle: Throttle
  /** What it has counted since this was last asked: for a worker process, whose node sums up. */
  counted(): Counted
  /** Messages between its actors that reached nobody, since this was last asked. */
  undelivered(): DeadLetter[]
  /** Counts it among the aggregations of this node: for `connect({ url, aggregated })`. */
  readonly aggregated: (ms: number) => void
  readonly publish: Publish
  /** Nothing new comes to a durable subscription that nobody wants any more. */
  withdraw(group: DurableGroup): Promise<boolean>
  /** The HTTP interface without a socket. */
  fetch(request: Request): Promise<Response>
  /** The exit code, once it has stopped: 0 drained, 75 forced, 70 when it could not go on. */
  readonly stopped: Promise<number>
}

const rootPolicy: SupervisorPolicy = { ...policy, intensity: 3, windowMs: 60_000 }
/** What the tasks at hand get to finish. */
const drainMs = 12_000
/** The exit code of a node whose tree has failed. */
const cannotGoOn = 70
/** Whatever hangs, the node is down by then. */
const stopMs = 25_000

export function createNode(options: NodeOptions): MusterNode {
  return new Node(options)
}

/** What is read before anything is started. */
interface Files extends Definitions {
  kinds: ReadonlyMap<string, Kind>
  tokens: readonly Token[]
}

class Node implements MusterNode {
  readonly stopped: Promise<number>
  readonly throttle = new Throttle()
  readonly #options: NodeOptions
  readonly #log: NodeLog
  readonly #exit = Promise.withResolvers<number>()
  #id: string
  readonly #drain = new AbortController()
  readonly #hurry = new AbortController()
  /** Monotonic ms at which what is still running is handed back, once the node is stopping. */
  #stopBy: number | undefined
  #exitCode = 0
  readonly #telemetry = new Telemetry()
  #world: World | undefined
  #assembly: Assembly | undefined
  #tree: AnyActorRef | undefined
  #starting: Promise<void> | undefined
  /** What was read before the tree: there, or failed. */
  #read: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | undefined
  /** Somebody took longer to stop in order than he may, and was taken out. */
  #isCutOff = false

  constructor(options: NodeOptions) {
    this.#options = options
    this.#id = options.config.node.id ?? hostname()
    this.stopped = this.#exit.promise
    const { stopped } = this
    const log = options.log ?? nodeLog({ ...options, meter: this.#telemetry, stopped })
    this.#log = this.#telemetry.alarms.counting(log)
    if (options.ownsProcess !== undefined) keepProcess(this.#log, options.ownsProcess)
  }

  get id(): string {
    return this.#id
  }

  get url(): string | undefined {
    return this.#assembly?.server?.url
  }

  async fetch(request: Request): Promise<Response> {
    const app = this.#assembly?.app
    if (app === undefined) throw new UnavailableError(`node ${this.#id} is not started`)
    return app.fetch(ownRequest(request))
  }

  heartbeat(): Heartbeat {
    const own = this.#world?.ports.mailboxes.holders() ?? []
    return heartbeatOf(this.#treeOrThrow(), own, () => this.#describeTree())
  }

  readonly publish: Publish = async (...words) => {
    const ports = this.#portsOrThrow()
    return nodePublisher({ config: this.#options.config, ports, log: this.#log })(...words)
  }

  withdraw = async (group: DurableGroup) => this.#portsOrThrow().topics.withdraw(group)

  counted = (): Counted => this.#telemetry.take()

  readonly aggregated = (ms: number): void => this.#telemetry.aggregated(ms)

  undelivered = (): DeadLetter[] => this.#assembly?.deadLetters.take() ?? []

  start(): Promise<void> {
    this.#starting ??= this.#start()
    return this.#starting
  }

  async #start(): Promise<void> {
    this.#refuseWhenStopping()
    const reading = this.#readFiles()
    this.#read = reading.then(
      () => undefined,
      () => undefined,
    )
    const files = await reading
    this.#refuseWhenStopping()
    await this.#startTree(files)
  }

  /** What is wrong with files and settings shows before anything is started. */
  async #readFiles(): Promise<Files> {
    const { config, dataDir, ephemeral, listen, tasksFiles, process } = this.#options
    refuseSplitting(this.#options)
    const tokens = tokensOf(config.http, listen === true)
    if (ephemeral !== true) makeDataDirectory(dataDir)
    if (listen === true) this.#id = chooseNodeId(dataDir, config.node.id, hostname())
    const defined = await readDefinitions(this.#options, tasksFiles)
    const kinds = kindsOf(defined.tasks, config.worker, this.#log, config.hosts, dataDir)
    const trouble = process === undefined ? unknownLimits(config.limits, kinds, listen) : undefined
    if (trouble !== undefined) this.#say(trouble)
    return { ...defined, kinds, tokens }
  }

  #refuseWhenStopping(): void {
    if (this.#stopping === undefined) return
    throw new UnavailableError(`node ${this.#id} was stopped; make a new one`, { code: 'STOPPED' })
  }

  stop(graceMs = drainMs): Promise<void> {
    const stopBy = systemClock.monotonic() + graceMs
    if (this.#stopBy === undefined) this.#stopBy = stopBy
    else if (stopBy < this.#stopBy) void this.#hurryAt(stopBy)
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  /** The tree cannot go on. What of it is well gets its time, unless others have its work. */
  #giveUp(isUp: boolean, error: unknown): void {
    if (this.#exitCode !== 0) return
    this.#exitCode = cannotGoOn
    // One that never came up tells whoever started it.
    if (isUp) this.#log.error(describeError(error), 'this node cannot go on; it drains and ends')
    const isDead = rootCause(error) instanceof DisplacedError
    this.stop(isUp && !isDead ? drainMs : 0).catch((problem: unknown) => {
      this.#log.error(describeError(problem), 'this node could not stop in order')
    })
  }

  #drainAsked(reason: string): void {
    if (this.#stopping !== undefined) return
    this.#log.warn({ reason }, 'this node was asked to drain')
    this.#say(`asked to drain: ${reason}`)
    const { onDrainAsked } = this.#options
    if (onDrainAsked !== undefined) onDrainAsked()
    else {
      this.stop().catch((error: unknown) => {
        this.#log.error(describeError(error), 'this node could not stop in order')
      })
    }
  }

  async #hurryAt(stopBy: number): Promise<void> {
    this.#stopBy = stopBy
    await systemClock.wait(Math.max(0, stopBy - systemClock.monotonic()))
    this.#hurry.abort()
  }

  async #stop(): Promise<void> {
    const inTime = new AbortController()
    const late = systemClock.wait(stopMs, inTime.signal)
    this.#assembly?.drain()
    this.#drain.abort()
    // What is still coming up would outlive us.
    await Promise.race([this.#read, late])
    const down = stopTree(this.#tree, () => {
      this.#isCutOff = true
    })
    const isDown = await Promise.race([down.then(() => true), late.then(() => false)])
    if (!isDown) await this.#force()
    inTime.abort()
    this.#telemetry.stop()
    const isForced = !isDown || this.#isCutOff || this.#hurry.signal.aborted
    this.#exit.resolve(this.#exitCode === 0 && isForced ? 75 : this.#exitCode)
  }

  /** Time is up: nothing is waited for any longer. */
  async #force(): Promise<void> {
    this.#log.warn({ stopMs }, 'not down in time; leaving at once')
    await forceTree(this.#tree)
    this.#world?.close().catch((error: unknown) => {
      this.#log.warn(describeError(error), 'what this node stood on could not be closed in order')
    })
  }

  #openWorld(): World {
    const { config, dataDir, ephemeral } = this.#options
    if (ephemeral === true) {
      this.#say('ephemeral: everything is in memory and is gone when this process ends')
      return memoryWorld({ config, log: this.#log })
    }
    const say = (line: string) => this.#say(line)
    const onStalled = (mailbox: string) => this.#telemetry.stalled(mailbox)
    const onHolder = (holder: string) => {
      this.#options.onHolder?.(holder)
      this.#assembly?.holdsMore()
    }
    return redisWorld({ config, dataDir, log: this.#log, say, onStalled, onHolder })
  }

  #describeTree(): TreeNode {
    const id = this.#options.process ?? this.#id
    return treeOf(this.#treeOrThrow(), id, process.pid, systemClock.monotonic())
  }

  #treeOrThrow(): AnyActorRef {
    if (this.#tree !== undefined) return this.#tree
    throw new UnavailableError(`node ${this.#id} is not started`)
  }

  #portsOrThrow(): Ports {
    if (this.#world !== undefined) return this.#world.ports
    throw new UnavailableError(`node ${this.#id} is not started: await its start() first`)
  }

  #say(line: string): void {
    this.#options.say?.(line)
  }

  async #startTree({ kinds, singletons, subscriptions, tokens }: Files): Promise<void> {
    const { config, dataDir, ephemeral, listen, roles, process, member, tasksFiles } = this.#options
    const world = this.#openWorld()
    this.#world = world
    const assembly = new Assembly({
      id: this.#id,
      config,
      dataDir,
      ephemeral: ephemeral === true,
      roles: roles ?? config.node.roles,
      listen: listen === true,
      ...(process === undefined || member === undefined ? {} : { process, member }),
      tasksFiles: tasksFiles ?? [],
      kinds,
      singletons: process === undefined ? singletons : [],
      subscriptions: process === undefined ? subscriptions : [],
      tokens,
      world,
      drain: this.#drain.signal,
      drainAsked: (reason) => this.#drainAsked(reason),
      hurry: this.#hurry.signal,
      // Those beside one that gave up get it as well, while the node goes on.
      graceMs: () =>
        this.#stopBy === undefined ? drainMs : Math.max(0, this.#stopBy - systemClock.monotonic()),
      heartbeat: () => this.heartbeat(),
      suspected: (is) => this.#options.onSuspected?.(is),
      telemetry: this.#telemetry,
      throttle: this.throttle,
      say: (line) => this.#say(line),
      log: this.#log,
    })
    this.#assembly = assembly
    const isTold = process !== undefined
    if (listen === true || isTold) this.#telemetry.start(isTold)
    const root = supervisor({
      id: 'node',
      policy: rootPolicy,
      children: assembly.children(),
      isAway: assembly.isAway,
      clock: systemClock,
      random: Math.random,
      tell: assembly.deadLetters.tell,
      meter: this.#telemetry,
      log: this.#log,
    })
    await this.#run(createActor(root.logic, { input: root.input }) as AnyActorRef)
  }

  /** Resolves when everything is up. */
  async #run(tree: AnyActorRef): Promise<void> {
    this.#tree = tree
    const ready = Promise.withResolvers<void>()
    let isUp = false
    tree.subscribe({
      next: (snapshot: unknown) => {
        const verdict = verdictOf(snapshot)
        if (verdict !== undefined) this.#giveUp(isUp, new Error(verdict.message, verdict))
        if (isUp || !isReady(snapshot)) return
        isUp = true
        ready.resolve()
      },
      error: (error: unknown) => {
        ready.reject(rootCause(error))
        this.#giveUp(isUp, error)
      },
      complete: () => {
        const message = `node ${this.#id} was stopped while it started`
        ready.reject(new UnavailableError(message, { code: 'STOPPED' }))
      },
    })
    tree.start()
    await ready.promise
    this.#assembly?.announce()
  }
}
