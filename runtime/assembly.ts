/**
 * What a node consists of, in the order in which it comes up. Nothing here is opened before its
 * actor comes to life: what stands on Redis is made when Redis is there.
 */
import type { Hono } from 'hono'
import type { AnyActorRef } from 'xstate'
import { connection } from '../actors/connection.ts'
import { DeadLetters, isLive } from '../actors/dead-letters.ts'
import type { Dispatcher } from '../actors/dispatcher.ts'
import type { Kind } from '../actors/kind.ts'
import type { Meter } from '../actors/meter.ts'
import type { Heartbeat } from '../actors/ports.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import type { SubscriptionDefinition } from '../actors/subscription-work.ts'
import {
  type ChildSpec,
  findChild,
  type NamedChild,
  type SupervisorOptions,
} from '../actors/supervisor.ts'
import type { Throttle } from '../actors/throttle.ts'
import type { Config } from '../config/schema.ts'
import { defaultPolicy, type SupervisorPolicy } from '../machines/supervision.ts'
import { baselineFile } from './baseline-file.ts'
import { systemClock } from './clock.ts'
import { nodeDispatcher } from './dispatcher.ts'
import { edge } from './edge.ts'
import { NodeEscalation } from './escalation.ts'
import { Fleet } from './fleet.ts'
import { NodeHealth } from './health.ts'
import type { HttpServer } from './http/server.ts'
import type { Token } from './http/token.ts'
import type { NodeLog } from './log/node-log.ts'
import { memoryBaseline } from './memory/baseline.ts'
import { processChildren } from './process-children.ts'
import { type Collecting, NodeResults } from './results.ts'
import { leavingFirst, stopMs } from './stop-tree.ts'
import { NodeSystem } from './system.ts'
import { readingsOf } from './telemetry/readings.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import { subscriptionChildren } from './topics.ts'
import { workerChildren } from './worker-children.ts'
import { Workshop } from './workshop.ts'
import type { Ports, World } from './world.ts'

export type Role = 'dispatcher' | 'worker' | 'collector'

export interface AssemblyOptions {
  id: string
  config: Config
  dataDir: string
  ephemeral: boolean
  roles: readonly Role[]
  listen: boolean
  /** Set in a worker process: its name. It has workers and nothing else. */
  process?: string
  /** Then also the id under which others know its node. */
  member?: string
  tasksFiles: readonly string[]
  kinds: ReadonlyMap<string, Kind>
  tokens: readonly Token[]
  world: World
  /** Aborted when the node begins to drain. */
  drain: AbortSignal
  /** Somebody asked this node to go, over HTTP or through Redis. */
  drainAsked(reason: string): void
  /** Aborted when what is at hand gets no more time. */
  hurry: AbortSignal
  /** What is left of the time for what is at hand, ms. */
  graceMs(): number
  singletons: readonly SingletonDefinition[]
  subscriptions: readonly SubscriptionDefinition[]
  heartbeat(): Heartbeat
  /** Told whether tasks run that may have taken their worker down before. */
  suspected(isSuspected: boolean): void
  telemetry: Telemetry
  /** With what share of its rate and its concurrency it works. */
  throttle: Throttle
  say(line: string): void
  log: NodeLog
}

/** Longer than a node may take to drain. */
export const policy: SupervisorPolicy = { ...defaultPolicy, stopTimeoutMs: 20_000 }
/** Names come in numbers when workers start. */
const newsAfterMs = 20
/** Tries to bring Redis back. */
const revival = { baseMs: 200, capMs: 5000, jitter: 0 }

/** What every actor of a node is given. */
export type Shared = Ports &
  Pick<SupervisorOptions, 'clock' | 'random' | 'log' | 'tell' | 'policy'> & {
    isAway(): boolean
    meter: Meter
  }

export class Assembly {
  readonly deadLetters: DeadLetters
  readonly #options: AssemblyOptions
  readonly #fleet: Fleet
  readonly #results: NodeResults
  readonly #escalation: NodeEscalation
  readonly #health: NodeHealth
  readonly #system: NodeSystem
  /** The supervisor of all, once there is one. */
  #root: AnyActorRef | undefined
  #workshop: Workshop | undefined
  /** News of this node are about to be told. */
  #isToldSoon = false
  #dispatcher: Dispatcher | undefined
  #server: HttpServer | undefined
  #app: Hono | undefined

  constructor(options: AssemblyOptions) {
    this.#options = options
    this.#fleet = new Fleet(
      options,
      () => this.#shared(),
      () => this.#dispatcher,
      () => this.#results.storeId,
    )
    const { config, dataDir, world } = options
    this.#results = new NodeResults({
      ...options,
      memberId: this.#fleet.memberId,
      tell: (to, event) => this.deadLetters.tell(to, event),
    })
    this.#escalation = new NodeEscalation({
      source: `${this.#fleet.memberId}/${this.#fleet.boot}`,
      config,
      world,
      shared: () => this.#shared(),
      leads: options.roles.includes('dispatcher'),
      opened: (metric) => options.telemetry.escalated(metric),
    })
    this.#health = new NodeHealth({
      ...options,
      logDepth: () => options.log.written?.depth,
      shared: () => this.#shared(),
    })
    this.#system = new NodeSystem({
      ...options,
      memberId: this.#fleet.memberId,
      isPublic: options.listen,
      staleMs: config.member.staleMs,
      shared: () => this.#shared(),
      root: () => this.#root,
      audit: (line) => this.#results.stores.audit.append(line),
      storeTrouble: () => this.#results.trouble(),
      health: this.#health,
      policy: config.health,
      baselines: options.ephemeral ? memoryBaseline() : baselineFile(dataDir, options.id),
    })
    const { log, telemetry: meter } = options
    this.deadLetters = new DeadLetters({ clock: systemClock, log, meter })
  }

  get server(): HttpServer | undefined {
    return this.#server
  }

  get app(): Hono | undefined {
    return this.#app
  }

  /** Take no new runs from now on, and say so. */
  drain(): void {
    this.#dispatcher?.closeIntake()
    this.#tellMember({ type: 'drain' })
  }

  /** Everything is up: what is at hand can be told. */
  announce(): void {
    if (this.#options.process === undefined) this.#system.system.up()
    this.#tellMember({ type: 'news' })
  }

  /** Messages are about to be taken under one more name: who sweeps us is to know it. */
  holdsMore(): void {
    if (this.#isToldSoon) return
    this.#isToldSoon = true
    void systemClock.wait(newsAfterMs).then(() => {
      this.#isToldSoon = false
      this.#tellMember({ type: 'news' })
    })
  }

  /** Stopped in reverse: what the workers settle last still finds its collector. */
  children(): NamedChild[] {
    const { id: node, roles, process, config, log } = this.#options
    const leads = roles.includes('dispatcher')
    const children = [this.#redis()]
    const writer = log.written?.child(node, this.deadLetters.tell, log)
    if (writer !== undefined) children.unshift(writer)
    const add = (id: keyof typeof stopMs, spec: () => ChildSpec) =>
      children.push({ id, spec, stopTimeoutMs: stopMs[id] })
    if (process === undefined) add('store', () => this.#results.spec())
    if (process === undefined) add('system', () => this.#system.spec())
    // Who is not found is gone before health means anything.
    if (this.#options.listen) add('health', () => this.#health.spec())
    if (process === undefined && roles.length > 0) {
      add('member', () => this.#fleet.member(() => this.#server?.url))
    }
    const collects = roles.includes('collector')
    // Before both, so that what they count last is still counted, and floods have been heard of.
    if (collects || leads) add('escalation', () => this.#escalation.spec())
    if (leads) add('dispatcher', () => this.#makeDispatcher().spec())
    if (collects) children.push(this.#results.collector(() => this.#collecting()))
    const stopTimeoutMs = stopMs.workers
    const processes = () => processChildren(this.#options, this.#shared(), this.deadLetters)
    const workers = () =>
      workerChildren(this.#options, this.#shared(), this.#workshopOnce(), this.#fleet)
    if (roles.includes('worker') && process === undefined && config.worker.processes > 0) {
      children.push({ id: 'processes', spec: processes, stopTimeoutMs })
    } else if (roles.includes('worker')) {
      children.push({ id: 'workers', spec: workers, stopTimeoutMs })
    }
    if (roles.includes('worker') && this.#options.subscriptions.length > 0) {
      const { boot } = this.#fleet
      add('subscriptions', () => subscriptionChildren({ ...this.#options, boot }, this.#shared()))
    }
    if (leads || this.#options.singletons.length > 0) {
      add('singletons', () => this.#fleet.singletons())
    }
    if (process === undefined) add('edge', () => this.#edge())
    for (const child of children) child.leavesFirst = leavingFirst.includes(child.id)
    return children
  }

  readonly isAway = (): boolean => this.#options.world.trouble() !== undefined

  #shared(): Shared {
    const { world, log, telemetry } = this.#options
    return {
      ...world.ports,
      headroom: this.#health.over(world.ports.headroom),
      meter: telemetry,
      clock: systemClock,
      random: Math.random,
      log,
      tell: this.deadLetters.tell,
      isAway: this.isAway,
      policy,
    }
  }

  #workshopOnce(): Workshop {
    const { config, suspected, world, log } = this.#options
    this.#workshop ??= new Workshop({ ports: world.ports, config, suspected, log })
    return this.#workshop
  }

  #redis(): NamedChild {
    const { world, process, log } = this.#options
    const { tell } = this.deadLetters
    const spec = (root: AnyActorRef) => {
      this.#root = root
      // What they hold of an earlier opening leads nowhere any more.
      this.#workshop = undefined
      this.#dispatcher = undefined
      // Until then nobody heard of us; some may take us for dead.
      const back = () => this.#tellMember({ type: 'connection.back' })
      const dependency = process === undefined ? this.#fleet.swept(world, back) : world
      return connection({ name: 'redis', dependency, backoff: revival, tell, log })
    }
    // To install a server, or to load all that it holds, takes as long as it takes.
    const startTimeoutMs = Number.POSITIVE_INFINITY
    return { id: 'redis', spec, startTimeoutMs, stopTimeoutMs: stopMs.redis }
  }

  #tellMember(event: { type: 'connection.back' | 'drain' | 'news' }): void {
    if (this.#root === undefined || !isLive(this.#root)) return
    const member = findChild(this.#root, 'member')
    if (member !== undefined) this.deadLetters.tell(member, event)
  }

  #collecting(): Collecting {
    return {
      shared: this.#shared(),
      node: this.#options.id,
      escalation: this.#escalation.counter,
      led: (lease, specOf) => this.#fleet.led(lease, specOf),
    }
  }

  #makeDispatcher(): Dispatcher {
    this.#dispatcher ??= nodeDispatcher({
      ...this.#options,
      shared: this.#shared(),
      boot: this.#fleet.boot,
      paces: this.#workshopOnce().paces,
      storm: this.#escalation.storm,
      refusal: () => this.#system.system.refusal(),
    })
    return this.#dispatcher
  }

  #edge(): ChildSpec {
    const { config, world, kinds, log, heartbeat, roles } = this.#options
    let unlisten: (() => Promise<void>) | undefined
    return edge({
      node: this.#options,
      tell: this.deadLetters.tell,
      routes: (feed) => ({
        accounting: world.ports.accounting,
        results: this.#results.stores.results,
        elsewhere: (request) => this.#results.elsewhere(request),
        dispatcher: this.#dispatcher,
        feed,
        kinds,
        lingerMs: config.worker.lingerMs,
        streamSilenceMs: config.http.streamSilenceMs,
        clock: systemClock,
        log,
        tree: () => heartbeat().tree,
        deadLetters: {
          local: () => this.deadLetters.list(),
          redriving: () => ({ ...world.ports, dispatcher: this.#dispatcher, log }),
        },
        unready: () => this.#unready(),
        away: () => world.trouble(),
        nodes: this.#fleet.nodeRoutes(),
        leases: () => world.ports.leases,
        system: this.#system.routes(),
        escalations: () => this.#escalation.list(),
        metrics: { text: () => this.#metricsText() },
        telemetry: this.#options.telemetry,
        inspect: { root: () => this.#root, bridge: config.http.statelyBridge === 'on' },
        board: { queues: () => world.queues },
      }),
      opened: async (app) => {
        this.#app = app
        if (roles.length > 0) unlisten = await this.#fleet.listen()
      },
      listening: (server) => {
        this.#server = server
      },
      closed: async () => unlisten?.(),
    })
  }

  async #metricsText(): Promise<string> {
    const { telemetry, roles, world } = this.#options
    const root = this.#root
    const ports = this.isAway() ? undefined : world.ports
    const logDepth = this.#options.log.written?.depth
    const { system } = this.#system
    const health = this.#health.view()
    const readings = { telemetry, root, roles, ports, logDepth, system, health }
    return telemetry.text(await readingsOf(readings))
  }

  /** Why this node takes no work now. */
  #unready(): string[] {
    const troubles = [this.#options.world.trouble(), this.#results.trouble()]
    return [
      ...troubles.filter((trouble) => trouble !== undefined),
      ...(this.#options.drain.aborted ? ['draining'] : []),
      ...this.#system.unready(),
    ]
  }
}
