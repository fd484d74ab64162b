/**
 * Some nodes that contend for one lease, with the real machine and its binding, on a server in
 * memory: everything between and beneath them is simulated, and goes wrong as one seed decides.
 */
import { type AnyActorRef, createActor } from 'xstate'
import { FencedError } from '../../actors/errors.ts'
import { contenders, lease, type Tenure } from '../../actors/lease.ts'
import type { Grant, Leases } from '../../actors/ports-fleet.ts'
import type { LeaseContext } from '../../machines/lease.ts'
import { type LeaseTimes, leaseJitterMs } from '../../machines/lease-times.ts'
import { emptyLeaseStore, memoryLeases } from '../../runtime/memory/leases.ts'
import { type Random, seededRandom } from '../kit/random.ts'
import { Computer } from './computer.ts'
import { type Belief, LeaseOracle } from './lease-oracle.ts'
import { healthyMaxMs, Network } from './network.ts'
import { Timeline } from './timeline.ts'

export interface LeaseSimulation {
  times: LeaseTimes
  /**
   * Clocks are off by at most this share of their rate. The margin by which a holder gives up
   * before Redis does bears a tenth of a short ttl.
   */
  skewMax: number
  /** What the server does instead of what it should: to see that it is found out. */
  sabotage?: (leases: Leases) => Leases
}

export interface SimulationReport {
  grants: number
  tenures: number
  writes: number
}

const name = 'a'
const startMs = 1_700_000_000_000
const troubleMs = 4000
const quiet = { debug() {}, info() {}, warn() {}, error() {} }

interface Node {
  computer: Computer
  actor: AnyActorRef | undefined
  /** The latest it had, also when that is over: something may still write under it. */
  tenure: Tenure | undefined
  isLeaving: boolean
}

class LeaseFleet {
  readonly timeline = new Timeline()
  readonly random: Random
  readonly network: Network
  readonly oracle: LeaseOracle
  readonly nodes: Node[]
  writes = 0
  readonly #simulation: LeaseSimulation
  readonly #store = emptyLeaseStore()
  readonly #server: Leases

  constructor(seed: number, simulation: LeaseSimulation) {
    this.random = seededRandom(seed)
    this.#simulation = simulation
    this.network = new Network(this.timeline, this.random)
    this.oracle = new LeaseOracle(() => this.timeline.nowMs, simulation.times.ttlMs)
    const now = () => startMs + this.timeline.nowMs
    const server = memoryLeases({ now, log: quiet, store: this.#store })
    this.#server = this.#watched(simulation.sabotage?.(server) ?? server)
    this.nodes = Array.from({ length: this.random.integer(2, 5) }, (_, index) => {
      const rate = 1 + (this.random.next() * 2 - 1) * simulation.skewMax
      const computer = new Computer(`n${index}`, rate, this.timeline, this.random)
      return { computer, actor: undefined, tenure: undefined, isLeaving: false }
    })
  }

  boot(node: Node): void {
    const { computer } = node
    if (computer.isRunning) return
    computer.start()
    const { logic, input } = lease({
      name,
      contender: contenders(computer.id, `b${computer.life}`)(),
      times: this.#simulation.times,
      leases: this.#leasesOf(computer),
      clock: computer.clock,
      random: () => this.random.next(),
      log: quiet,
      tell: (word) => {
        // What is stopped because its process is killed tells nobody.
        if (!computer.isRunning) return
        if (word.type === 'lease.lost') return this.oracle.lost(word.tenure.grant)
        this.oracle.held(word.tenure.grant)
        node.tenure = word.tenure
        this.#work(node)
      },
    })
    const actor = createActor(logic, { input })
    actor.subscribe({
      error: (error: unknown) => {
        throw new Error(`a contender failed on ${computer.id}`, { cause: error })
      },
    })
    node.actor = actor
    actor.start()
  }

  kill(node: Node): void {
    node.computer.kill()
    node.actor?.stop()
    node.tenure = undefined
    node.isLeaving = false
  }

  /** Asks it to stop in order; the process ends a while later. */
  leave(node: Node): void {
    const { computer, actor } = node
    node.isLeaving = true
    computer.inThisLife(() => {
      if (actor?.getSnapshot().status === 'active') actor.send({ type: 'stop' })
    })()
  }

  /** From now on nothing goes wrong, and nothing that did is still on its way. */
  heal(): void {
    this.network.heal()
    for (const node of this.nodes) {
      node.computer.resume()
      this.replace(node)
    }
  }

  /** A new process, where the old one is gone or about to go. */
  replace(node: Node): void {
    if (node.isLeaving) this.kill(node)
    this.boot(node)
  }

  believers(): Node[] {
    return this.nodes.filter((node) => this.#beliefOf(node) !== undefined)
  }

  async pass(ms: number): Promise<void> {
    await this.timeline.pass(this.timeline.nowMs + ms, () => this.oracle.look(this.#beliefs()))
  }

  expectLeader(when: string): void {
    this.oracle.leads(this.#beliefs(), when)
  }

  /** The server loses everything, as one that is started again without its files. */
  wipe(): void {
    this.oracle.voided(this.#store.locks.get(name)?.epoch)
    this.loseCounter()
    this.#store.locks.clear()
    this.#store.values.clear()
  }

  loseCounter(): void {
    this.oracle.forgot()
    this.#store.epochs.clear()
  }

  revoke(): void {
    this.oracle.voided(this.#store.locks.get(name)?.epoch)
    void this.#server.revoke(name, 'drill')
  }

  #beliefs(): Belief[] {
    return this.nodes.flatMap((node) => this.#beliefOf(node) ?? [])
  }

  #beliefOf({ computer, actor }: Node): Belief | undefined {
    if (!computer.isRunning || actor === undefined) return undefined
    const { context } = actor.getSnapshot() as { context: LeaseContext }
    const { holding } = context
    if (!actor.getSnapshot().hasTag('held') || holding === undefined) return undefined
    if (computer.clock.monotonic() >= holding.validUntil) return undefined
    return { computer: computer.id, grant: holding.grant }
  }

  /** Writes now and then while it leads; also when it was paused between asking and writing. */
  #work(node: Node): void {
    const { computer, tenure } = node
    if (tenure === undefined) return
    const write = computer.inThisLife(() => {
      if (!tenure.isValid()) return
      const send = computer.inThisLife(() => void this.#write(computer, tenure.grant))
      this.timeline.after(0, send)
      this.timeline.after(this.random.integer(200, 600), write)
    })
    this.timeline.after(this.random.integer(0, 300), write)
  }

  async #write(computer: Computer, grant: Grant): Promise<void> {
    const written = this.network.call(computer, () => this.#server.put(grant, 'by', grant.owner))
    await written.catch(() => undefined)
  }

  /** The server, and the oracle beside it. */
  #watched(server: Leases): Leases {
    return {
      ...server,
      acquire: async (asked, owner, ttlMs) => {
        const acquired = await server.acquire(asked, owner, ttlMs)
        if (acquired.granted) this.oracle.granted({ name: asked, owner, epoch: acquired.epoch })
        return acquired
      },
      put: async (grant, key, value) => {
        try {
          await server.put(grant, key, value)
        } catch (error) {
          if (error instanceof FencedError) this.oracle.wasRefused(grant.epoch)
          throw error
        }
        this.oracle.wrote(grant.epoch)
        this.writes += 1
      },
    }
  }

  /** The server as it is seen from a computer. */
  #leasesOf(computer: Computer): Leases {
    const { network } = this
    const server = this.#server
    return {
      ...server,
      acquire: (...args) => network.call(computer, () => server.acquire(...args)),
      renew: (grant, ttlMs) => {
        this.oracle.renewing(grant)
        return network.call(computer, () => server.renew(grant, ttlMs))
      },
      release: (grant) => network.call(computer, () => server.release(grant)),
      watch: (listener) =>
        server.watch((freed) =>
          network.tell(
            computer,
            computer.inThisLife(() => listener(freed)),
          ),
        ),
    }
  }
}

/** What may go wrong beside the network. */
const troubles: Record<string, (fleet: LeaseFleet, node: Node) => void> = {
  pause: ({ random }, { computer }) => computer.pause(random.integer(50, 4000)),
  pauseLeader: (fleet) => {
    const [leader] = fleet.believers()
    leader?.computer.pause(fleet.random.integer(500, 4000))
  },
  kill: (fleet, node) => {
    fleet.kill(node)
    fleet.timeline.after(fleet.random.integer(100, 2500), () => fleet.boot(node))
  },
  leave: (fleet, node) => {
    fleet.leave(node)
    fleet.timeline.after(fleet.random.integer(100, 2500), () => fleet.replace(node))
  },
  cutOff: ({ network, timeline, random }, { computer }) => {
    network.cutOff.add(computer)
    timeline.after(random.integer(200, 3000), () => network.cutOff.delete(computer))
  },
  wipe: (fleet) => fleet.wipe(),
  loseCounter: (fleet) => fleet.loseCounter(),
  revoke: (fleet) => fleet.revoke(),
}

/**
 * Trouble first, then quiet, in which somebody must lead; then the leader is killed, and another
 * leaves in order.
 * @throws Error naming the moment and what was broken
 */
export async function simulateLeases(
  seed: number,
  simulation: LeaseSimulation,
): Promise<SimulationReport> {
  const fleet = new LeaseFleet(seed, simulation)
  const { random, network, timeline, oracle } = fleet
  const { ttlMs, renewMs, operationTimeoutMs } = simulation.times
  /** What a clock that is slow and a jitter add to a ttl, and a few messages. */
  const takeoverMs = ttlMs * (1 + 2 * simulation.skewMax) + leaseJitterMs(ttlMs) * 1.1
  const slackMs = 6 * healthyMaxMs
  for (const node of fleet.nodes) timeline.after(random.integer(0, 500), () => fleet.boot(node))

  const share = () => random.pick([0, 0, 0.02, 0.1, 0.3])
  network.faults = {
    lost: share(),
    doubled: share(),
    refused: share(),
    late: share(),
    lateMaxMs: 2 * ttlMs,
  }
  for (let count = random.integer(2, 8); count > 0; count -= 1) {
    const trouble = troubles[random.pick(Object.keys(troubles))]
    const node = random.pick(fleet.nodes)
    timeline.after(random.integer(500, troubleMs), () => trouble?.(fleet, node))
  }
  await fleet.pass(troubleMs)

  fleet.heal()
  // Until the last operation is given up and tried again, and what a forgotten one got has run out.
  await fleet.pass(takeoverMs + operationTimeoutMs + renewMs + slackMs)
  fleet.expectLeader('when all is quiet')

  await fleet.pass(random.integer(0, renewMs))
  for (const leader of fleet.believers()) fleet.kill(leader)
  await fleet.pass(takeoverMs + slackMs)
  fleet.expectLeader('a ttl after the leader was killed')

  for (const node of fleet.nodes) fleet.boot(node)
  await fleet.pass(slackMs)
  for (const leader of fleet.believers()) fleet.leave(leader)
  await fleet.pass(slackMs)
  fleet.expectLeader('at once after the leader has left')
  for (const node of fleet.nodes) fleet.kill(node)
  return { grants: oracle.grants, tenures: oracle.tenures, writes: fleet.writes }
}
