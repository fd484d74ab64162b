/** What makes a node one of several: it is registered, contends for leases, and sweeps the dead. */
import { hostname } from 'node:os'
import { coordinate, sweepGone } from '../actors/coordinator.ts'
import type { Dispatcher } from '../actors/dispatcher.ts'
import { UsageError } from '../actors/errors.ts'
import { Failovers } from '../actors/failovers.ts'
import { contenders } from '../actors/lease.ts'
import { led } from '../actors/led.ts'
import { member } from '../actors/member.ts'
import type { Dependency } from '../actors/ports.ts'
import type {
  Fence,
  FencingToken,
  Member,
  MemberRecord,
  NodeRequest,
} from '../actors/ports-fleet.ts'
import { type SingletonOptions, singleton } from '../actors/singleton.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import { type ChildSpec, type NamedChild, supervisor } from '../actors/supervisor.ts'
import type { TaskLine } from '../actors/task.ts'
import type { AssemblyOptions, Shared } from './assembly.ts'
import { systemClock } from './clock.ts'
import { bootOf } from './driver.ts'
import type { NodeRoutesOptions } from './http/nodes.ts'
import { listSource } from './intake.ts'
import { isProcessGone, place } from './place.ts'
import { nodeRouter } from './placement.ts'
import { endpointsOf, proberSingletons } from './prober.ts'
import { NodeHistory } from './telemetry/work-history.ts'
import { version } from './version.ts'

/** What the work of a singleton gets to stop in order. */
const stopLimitMs = 4000

export class Fleet {
  /** Names this start of the node. */
  readonly boot = crypto.randomUUID().slice(0, 13)
  readonly #options: AssemblyOptions
  readonly #shared: () => Shared
  readonly #dispatcher: () => Dispatcher | undefined
  readonly #store: () => string | undefined
  readonly #failovers = new Failovers(systemClock)
  readonly #contender: () => string
  readonly #startedAt = systemClock.now()
  readonly #history: NodeHistory
  #reachableSince = systemClock.monotonic()

  constructor(
    options: AssemblyOptions,
    shared: () => Shared,
    dispatcher: () => Dispatcher | undefined,
    store: () => string | undefined,
  ) {
    this.#options = options
    this.#shared = shared
    this.#dispatcher = dispatcher
    this.#store = store
    this.#history = new NodeHistory(options.telemetry.tally)
    this.#contender = contenders(this.memberId, this.boot)
  }

  get memberId(): string {
    return memberIdOf(this.#options)
  }

  /** What the world is, and the dead of this place swept before anybody uses it. */
  swept(world: Dependency, back: () => void): Dependency {
    const { config, log } = this.#options
    return {
      open: async (listener) => {
        await world.open({
          lost: listener.lost,
          back: () => {
            this.#reachableSince = systemClock.monotonic()
            listener.back()
            back()
          },
        })
        this.#reachableSince = systemClock.monotonic()
        const { staleMs } = config.member
        await sweepGone({ ...this.#options.world.ports, isGone, staleMs, log })
      },
      revive: () => world.revive(),
      close: () => world.close(),
    }
  }

  member(url: () => string | undefined): ChildSpec {
    const { config, log, world } = this.#options
    const { heartbeatMs, staleMs } = config.member
    const describe = () => this.#describe(url())
    const { members } = world.ports
    return member({ members, describe, isGone, heartbeatMs, staleMs, clock: systemClock, log })
  }

  /** Hears what other nodes ask of this one. Returns an unsubscribe function. */
  async listen(): Promise<() => Promise<void>> {
    const { world, drainAsked } = this.#options
    const listener = ({ reason }: NodeRequest) => drainAsked(reason)
    return world.ports.members.onAsked(this.memberId, this.boot, listener)
  }

  /** What is shown of the nodes, and asked of them. */
  nodeRoutes(): NodeRoutesOptions {
    const { config, drain, drainAsked } = this.#options
    const members = () => this.#options.world.ports.members
    return {
      list: () => members().list(config.member.staleMs),
      endpoints: () => endpointsOf(this.#options.world.ports.leases),
      ask: ({ id, boot }, request) => members().ask(id, boot, request),
      id: this.memberId,
      boot: this.boot,
      drain: drainAsked,
      isDraining: () => drain.aborted,
    }
  }

  /** A child that lives only on the node that holds the lease. */
  led(lease: string, specOf: (fence: Fence) => ChildSpec): ChildSpec {
    this.#options.telemetry.contends(lease)
    return led({ ...this.contending(), id: lease, lease, contender: this.#contender, specOf })
  }

  singletons(): ChildSpec {
    const dispatcher = this.#dispatcher()
    const { config, log } = this.#options
    const own =
      dispatcher === undefined
        ? []
        : [this.#coordinator(dispatcher), ...proberSingletons(config, log)]
    const definitions = [...own, ...this.#options.singletons]
    const children = definitions.map((definition): NamedChild => {
      this.#options.telemetry.contends(definition.name)
      const spec = () =>
        singleton({ ...this.contending(), contender: this.#contender(), definition })
      return { id: definition.name, spec }
    })
    return supervisor({ ...this.#shared(), id: 'singletons', children })
  }

  contending(): Shared & Omit<SingletonOptions, 'definition' | 'contender'> {
    const { config, world, telemetry } = this.#options
    return {
      ...this.#shared(),
      observer: telemetry,
      leases: world.ports.leases,
      times: config.lease,
      stopLimitMs,
      failovers: this.#failovers,
      submit: (tasks, fence) => this.#submit(tasks, fence),
    }
  }

  async #submit(tasks: readonly TaskLine[], fence: FencingToken): Promise<string> {
    const dispatcher = this.#dispatcher()
    if (dispatcher === undefined) {
      throw new UsageError('node.roles: expected a dispatcher among them, to submit tasks')
    }
    const { kinds } = this.#options
    const source = listSource(tasks, kinds)
    for await (const { read } of source(0)) {
      const bad = read.find(({ rejection }) => rejection !== undefined)?.rejection
      if (bad !== undefined) throw new UsageError(`task ${bad.line}: ${bad.path}: ${bad.message}`)
    }
    refuseSameIds(tasks)
    const { run } = await dispatcher.submit({ source, fence, tasks: tasks.length })
    return run.id
  }

  #coordinator(dispatcher: Dispatcher): SingletonDefinition {
    const { config, world, telemetry, log } = this.#options
    const { boot } = this
    return {
      name: 'coordinator',
      start: ({ epoch, signal }) => ({
        ended: coordinate(
          {
            ...world.ports,
            ...config.member,
            boot,
            bootOf,
            isGone,
            reachableSince: () => this.#reachableSince,
            strays: {
              ...world.ports,
              router: nodeRouter({ config, ports: world.ports, telemetry }),
              staleMs: config.member.staleMs,
              unservedMs: config.dispatcher.unservedMs,
              nameKeepMs: config.mailbox.nameKeepMs,
              node: this.#options.id,
              clock: systemClock,
              log,
            },
            adopt: (run, fence) => dispatcher.adopt(run, fence),
            clock: systemClock,
            log,
          },
          { lease: 'coordinator', epoch },
          signal,
        ),
      }),
    }
  }

  #describe(url: string | undefined): Omit<Member, 'state'> {
    const { config, kinds, roles, heartbeat } = this.#options
    const { holders, load } = heartbeat()
    const store = this.#store()
    const history = this.#history.next()
    return {
      id: this.memberId,
      boot: this.boot,
      host: hostname(),
      pid: process.pid,
      place: place(),
      ...(url === undefined ? {} : { url }),
      roles,
      labels: config.node.labels,
      kinds: roles.includes('worker') ? [...kinds.keys()] : [],
      version: version(),
      startedAt: this.#startedAt,
      load,
      ...(store === undefined ? {} : { store }),
      ...(history === undefined ? {} : { history }),
      holders,
    }
  }
}

/**
 * The id under which others know a node. One that nobody can find shares its host with others of
 * its kind; a worker process goes by that of its node.
 */
export function memberIdOf(options: Pick<AssemblyOptions, 'id' | 'listen' | 'member'>): string {
  const { id, listen } = options
  return options.member ?? (listen ? id : `${id}-${process.pid}`)
}

const isGone = (record: MemberRecord): boolean => isProcessGone(record.place, record.pid)

/** What a run would reject when it is too late to take none. */
function refuseSameIds(tasks: readonly TaskLine[]): void {
  const seen = new Set<string>()
  for (const [index, { id }] of tasks.entries()) {
    if (id === undefined) continue
    if (seen.has(id)) {
      const message = `expected one that is new among these tasks, got ${JSON.stringify(id)} again`
      throw new UsageError(`task ${index + 1}: id: ${message}`)
    }
    seen.add(id)
  }
}
