/**
 * Where tasks go that do not go anywhere: resolves what they say of it against the nodes that are
 * there, and chooses one of several when their envelope is sent. Who says nothing never comes here.
 */
import {
  type Candidate,
  type Decision,
  decide,
  ineligible,
  makePool,
  type Pool,
  type Strategy,
  unknownHistory,
} from '../machines/balancer.ts'
import { countSeqs, type Envelope } from './envelope.ts'
import type { Meter } from './meter.ts'
import { hasLabels, isPlaced, nodeMailbox, nowhere, type Place } from './place.ts'
import type { Admission, Clock } from './ports.ts'
import type { MemberRecord, Members } from './ports-fleet.ts'
import type { SourceLine } from './source.ts'
import type { Task } from './task.ts'

export interface RouterOptions {
  members: Pick<Members, 'list'>
  admission: Pick<Admission, 'usedIn'>
  clock: Clock
  random(): number
  strategy: Strategy
  /** Silence after which a node is dead, ms. */
  staleMs: number
  /** Most tasks a mailbox may hold. */
  depthMax: number
  keyPartitions: number
  hosts: Hosts
  /** Names of hosts that are probed and are not to be used now; none where none is probed. */
  offline?(): Promise<ReadonlySet<string>>
  meter?: Pick<Meter, 'routed'>
}

/** Hosts that run no node. */
export interface Hosts {
  /** Names and labels of those that are listed. */
  readonly inventory: ReadonlyMap<string, Readonly<Record<string, string>>>
  /** Whether a name that nobody has is a host all the same, and that may be one. */
  isAdHoc(name: string): boolean
  /** Whether tasks of this kind can be done there. */
  reaches(kind: string): boolean
}

/** One task of a line, and where it is to run. */
export interface PlacedTask {
  task: Task
  at: Place
  /** Tasks that may travel with it at most. */
  tasksMax?: number
}

/** What is known of the nodes is this old at most, ms. */
const viewMs = 500
/** Envelopes that a piece is cut into, for each node that may have them. */
const envelopesANode = 4

export class Router {
  readonly #options: RouterOptions
  #records: { at: number; list: Promise<MemberRecord[]> } | undefined
  /** By kind and labels. */
  readonly #pools = new Map<string, { at: number; pool: Promise<NodePool> }>()
  /** Number of the choice at which each node was last chosen. */
  readonly #chosenAt = new Map<string, number>()
  #choices = 0

  constructor(options: RouterOptions) {
    this.#options = options
  }

  /**
   * Where the tasks of these lines go, by line: one task each, or several where one is to run on
   * every node that matches. Undefined, and at once, when none says anything about it.
   */
  async placesOf(
    read: readonly SourceLine[],
  ): Promise<ReadonlyMap<SourceLine, readonly PlacedTask[]> | undefined> {
    const placed = read.filter(({ accepted }) => accepted !== undefined && isPlaced(accepted.task))
    if (placed.length === 0) return undefined
    const records = await this.#nodes()
    const places = new Map<SourceLine, readonly PlacedTask[]>()
    const chosen = new Map<string, number>()
    for (const line of placed) {
      const { accepted } = line
      if (accepted === undefined) continue
      const tasks = this.#place(accepted.kind, accepted.task, records)
      places.set(line, tasks)
      for (const { at } of tasks) {
        if (!('select' in at)) continue
        const name = poolName(accepted.kind, at.select)
        chosen.set(name, (chosen.get(name) ?? 0) + 1)
      }
    }
    if (chosen.size === 0) return places
    for (const [line, tasks] of places) {
      const [first] = tasks
      if (first === undefined || !('select' in first.at)) continue
      const kind = line.accepted?.kind ?? ''
      const count = chosen.get(poolName(kind, first.at.select)) ?? 1
      const { pool } = await this.#pool(kind, first.at.select)
      first.tasksMax = Math.ceil(count / (envelopesANode * Math.max(1, pool.candidates.length)))
    }
    return places
  }

  /** The same envelope in its mailbox, where a node has to be chosen for it. */
  async route(envelope: Envelope): Promise<Envelope> {
    const { at, kind, tasks, seqs } = envelope
    if (at === undefined || !('select' in at)) return envelope
    const { pool, excluded } = await this.#pool(kind, at.select)
    const { clock, random, meter, keyPartitions } = this.#options
    const began = clock.monotonic()
    const decision = decide(pool, countSeqs(seqs), random)
    meter?.routed(clock.monotonic() - began)
    const key = tasks[0]?.key
    if (decision === undefined) {
      const { routing: _, ...unrouted } = envelope
      return { ...unrouted, mailbox: nodeMailbox(kind, key, keyPartitions, nowhere) }
    }
    this.#choices += 1
    this.#chosenAt.set(decision.winner, this.#choices)
    const routing: Decision = excluded === undefined ? decision : { ...decision, excluded }
    const mailbox = nodeMailbox(kind, key, keyPartitions, decision.winner)
    return { ...envelope, mailbox, routing }
  }

  /** Everybody who is known, as of half a second ago at most. */
  #nodes(): Promise<readonly MemberRecord[]> {
    const { clock, members, staleMs } = this.#options
    const now = clock.monotonic()
    if (this.#records === undefined || now - this.#records.at > viewMs) {
      const list = members.list(staleMs)
      this.#records = { at: now, list }
      list.catch(() => {
        this.#records = undefined
      })
    }
    return this.#records.list
  }

  #place(kind: string, task: Task, records: readonly MemberRecord[]): PlacedTask[] {
    const { placement, select = {}, target } = task
    if (target !== undefined) return [{ task, at: this.#targeted(kind, target, records) }]
    if (placement !== 'all') return [{ task, at: { select } }]
    const { placement: _, select: __, ...rest } = task
    const { hosts } = this.#options
    const nodes = records
      .filter(({ state }) => state === 'alive' || state === 'suspect' || state === 'joining')
      .filter(({ kinds, labels }) => kinds.includes(kind) && hasLabels(labels, select))
      .map(({ id }): PlacedTask => ({ task: { ...rest, target: id }, at: { node: id } }))
    const isSelective = Object.keys(select).length > 0 && hosts.reaches(kind)
    const reached = isSelective
      ? [...hosts.inventory].filter(
          ([name, labels]) =>
            hasLabels(labels, select) && !nodes.some(({ task: { target: id } }) => id === name),
        )
      : []
    const remote = reached.map(
      ([name]): PlacedTask => ({ task: { ...rest, target: name }, at: { host: true } }),
    )
    const all = [...nodes, ...remote]
    // Nobody matches yet: the first that comes.
    return all.length > 0 ? all : [{ task: { ...rest, select }, at: { select } }]
  }

  #targeted(kind: string, target: string, records: readonly MemberRecord[]): Place {
    // Also of a node that died lately: what was meant for it must not run elsewhere.
    if (records.some(({ id }) => id === target)) return { node: target }
    const label = /^([^=]+)=(.*)$/.exec(target)
    if (label !== null) return { select: { [label[1] ?? '']: label[2] ?? '' } }
    const { inventory, isAdHoc, reaches } = this.#options.hosts
    const isHost = inventory.has(target) || isAdHoc(target)
    return isHost && reaches(kind) ? { host: true } : { node: target }
  }

  #pool(kind: string, select: Readonly<Record<string, string>>): Promise<NodePool> {
    const now = this.#options.clock.monotonic()
    const name = poolName(kind, select)
    const known = this.#pools.get(name)
    if (known !== undefined && now - known.at <= viewMs) return known.pool
    // Those that nobody asks for any more.
    for (const [other, { at }] of this.#pools) if (now - at > viewMs) this.#pools.delete(other)
    const pool = this.#makePool(kind, select)
    this.#pools.set(name, { at: now, pool })
    pool.catch(() => this.#pools.delete(name))
    return pool
  }

  async #makePool(kind: string, select: Readonly<Record<string, string>>): Promise<NodePool> {
    const { admission, strategy, depthMax, keyPartitions, offline } = this.#options
    const [records, away] = await Promise.all([this.#nodes(), offline?.()])
    const serving = records.filter(
      ({ kinds, labels, state }) =>
        state !== 'dead' && kinds.includes(kind) && hasLabels(labels, select),
    )
    const mailboxes = serving.map(({ id }) => nodeMailbox(kind, undefined, keyPartitions, id))
    const used = mailboxes.length === 0 ? [] : await admission.usedIn(mailboxes)
    const good: Candidate[] = []
    const poor: Candidate[] = []
    const reasons: Record<string, number> = {}
    serving.forEach((record, index) => {
      const queue = used[index] ?? 0
      const { id, load, labels, state, history = unknownHistory } = record
      // How long it has been silent is in its state already, by the one clock that all go by.
      const isOffline = away?.has(id) === true
      const standing = { ...history, state, isOffline, silentMs: 0, used: queue, usedMax: depthMax }
      const why = ineligible(standing)
      if (why !== undefined) reasons[why.reason] = (reasons[why.reason] ?? 0) + 1
      if (why?.why === 'gone') return
      const candidate = { id, active: load, queue, cost: costOf(labels), ...history }
      if (why === undefined) good.push(candidate)
      else poor.push(candidate)
    })
    const candidates = good.length > 0 ? good : poor
    const pool = makePool(strategy, candidates, this.#chosenAt, this.#choices)
    for (const id of this.#chosenAt.keys()) {
      if (!records.some((record) => record.id === id)) this.#chosenAt.delete(id)
    }
    return Object.keys(reasons).length === 0 ? { pool } : { pool, excluded: reasons }
  }
}

interface NodePool {
  pool: Pool
  /** Nodes that were left out, by reason. */
  excluded?: Record<string, number>
}

function poolName(kind: string, select: Readonly<Record<string, string>>): string {
  const labels = Object.entries(select).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return `${kind} ${JSON.stringify(labels)}`
}

/** What a task costs there, by the label `cost`; 1 where it says nothing of use. */
function costOf({ cost }: Readonly<Record<string, string>>): number {
  const said = Number(cost)
  return said > 0 && Number.isFinite(said) ? said : 1
}
