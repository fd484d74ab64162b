/**
 * What a pool of sandboxes does, as data and arithmetic: (state, event) to (state, commands). The
 * total is always available + leased + resetting + replacing, and first come is first served.
 */
import { type SlotEvent, type SlotState, slotAfter } from './slot.ts'

export interface PoolPolicy {
  /** Sandboxes at most, of all bases together. */
  slotsMax: number
  /** Whether a sandbox is reset and used again, or made for each lease and discarded after it. */
  isReused: boolean
}

export interface SlotRecord {
  id: number
  state: SlotState
  /** Of what its sandbox is made: those of one base are as good as each other. */
  base: string
  /** Which sandbox it is; what is told of an earlier one is late. */
  life: number
  /** How often it was leased: the number of its present, or last, lease. */
  lease: number
}

export interface Waiter {
  id: number
  base: string
}

export interface PoolState {
  policy: PoolPolicy
  slots: readonly SlotRecord[]
  /** In the order in which they came. */
  waiters: readonly Waiter[]
  slotsMade: number
  livesMade: number
  isClosing: boolean
}

export type PoolCommand =
  | { type: 'make'; slot: number; life: number; base: string }
  | { type: 'reset'; slot: number; life: number }
  | { type: 'discard'; life: number }
  | { type: 'grant'; waiter: number; slot: number; life: number; lease: number }
  /** Without an error: because the pool closes. */
  | { type: 'refuse'; waiter: number; error?: unknown }

export type PoolEvent =
  | { type: 'slot.wanted'; waiter: number; base: string }
  /** He does not wait any longer. */
  | { type: 'slot.unwanted'; waiter: number }
  /** Broken: nobody is to have the sandbox again. */
  | { type: 'slot.given'; slot: number; lease: number; isBroken: boolean }
  | { type: 'slot.done'; slot: number; life: number }
  | { type: 'slot.failed'; slot: number; life: number; error: unknown }
  | { type: 'stop' }

export interface PoolCounts {
  total: number
  available: number
  leased: number
  resetting: number
  replacing: number
  /** Who wants one and has none. */
  waiting: number
}

export interface PoolStep {
  state: PoolState
  commands: readonly PoolCommand[]
}

export function emptyPool(policy: PoolPolicy): PoolState {
  return { policy, slots: [], waiters: [], slotsMade: 0, livesMade: 0, isClosing: false }
}

export function poolCounts({ slots, waiters }: Pick<PoolState, 'slots' | 'waiters'>): PoolCounts {
  const count = (state: SlotState) => slots.filter((slot) => slot.state === state).length
  return {
    total: slots.length,
    available: count('idle'),
    leased: count('leased'),
    resetting: count('resetting'),
    replacing: count('replacing'),
    waiting: waiters.length,
  }
}

/** A word that is late, or of a lease that is over, changes nothing. */
export function poolStep(state: PoolState, event: PoolEvent): PoolStep {
  const draft = new Draft(state)
  switch (event.type) {
    case 'slot.wanted':
      if (state.isClosing) draft.commands.push({ type: 'refuse', waiter: event.waiter })
      else draft.waiters.push({ id: event.waiter, base: event.base })
      break
    case 'slot.unwanted':
      draft.waiters = draft.waiters.filter(({ id }) => id !== event.waiter)
      break
    case 'slot.given':
      draft.giveBack(event.slot, event.lease, event.isBroken)
      break
    case 'slot.done':
      draft.done(event.slot, event.life)
      break
    case 'slot.failed':
      draft.failed(event.slot, event.life, event.error)
      break
    case 'stop':
      draft.close()
      break
  }
  draft.serve()
  return { state: draft.state(), commands: draft.commands }
}

class Draft {
  readonly commands: PoolCommand[] = []
  waiters: Waiter[]
  readonly #before: PoolState
  #slots: SlotRecord[]
  #slotsMade: number
  #livesMade: number
  #isClosing: boolean

  constructor(before: PoolState) {
    this.#before = before
    this.waiters = [...before.waiters]
    this.#slots = before.slots.map((slot) => ({ ...slot }))
    this.#slotsMade = before.slotsMade
    this.#livesMade = before.livesMade
    this.#isClosing = before.isClosing
  }

  state(): PoolState {
    return {
      policy: this.#before.policy,
      slots: this.#slots,
      waiters: this.waiters,
      slotsMade: this.#slotsMade,
      livesMade: this.#livesMade,
      isClosing: this.#isClosing,
    }
  }

  giveBack(id: number, lease: number, isBroken: boolean): void {
    const slot = this.#slots.find((one) => one.id === id)
    if (slot?.state !== 'leased' || slot.lease !== lease) return
    if (this.#isClosing || !this.#before.policy.isReused) this.#discard(slot)
    else if (isBroken) this.#replace(slot, 'replace', slot.base)
    else {
      this.#move(slot, 'giveBack')
      this.commands.push({ type: 'reset', slot: slot.id, life: slot.life })
    }
  }

  done(id: number, life: number): void {
    const slot = this.#awaited(id, life)
    if (slot === undefined) return
    if (this.#isClosing) this.#discard(slot)
    else this.#move(slot, 'done')
  }

  failed(id: number, life: number, error: unknown): void {
    const slot = this.#awaited(id, life)
    if (slot === undefined) return
    if (slot.state === 'resetting') {
      if (this.#isClosing) this.#discard(slot)
      else this.#replace(slot, 'fail', slot.base)
      return
    }
    // Nothing was made, so nothing is to be discarded. Who waited for one of these hears why, one
    // for each; the others have theirs made, and may be luckier.
    this.#move(slot, 'fail')
    const waiter = this.waiters.find(({ base }) => base === slot.base)
    if (waiter === undefined) return
    this.waiters = this.waiters.filter((one) => one !== waiter)
    this.commands.push({ type: 'refuse', waiter: waiter.id, error })
  }

  close(): void {
    this.#isClosing = true
    for (const { id } of this.waiters) this.commands.push({ type: 'refuse', waiter: id })
    this.waiters = []
    for (const slot of this.#slots.filter(({ state }) => state === 'idle')) this.#discard(slot)
  }

  /**
   * Each that waits, in order, has an idle sandbox of his base, or one that is coming, or one made
   * where there is a place, or one in place of an idle one of another base.
   */
  serve(): void {
    const coming = this.#slots.filter(({ state }) => state === 'resetting' || state === 'replacing')
    for (const waiter of this.waiters.slice()) {
      const idle = this.#slots.find(({ state, base }) => state === 'idle' && base === waiter.base)
      if (idle !== undefined) {
        this.#grant(idle, waiter)
        continue
      }
      const next = coming.findIndex(({ base }) => base === waiter.base)
      if (next >= 0) coming.splice(next, 1)
      else if (!this.#findPlace(waiter.base)) return
    }
  }

  /** Has a sandbox made, unless all places are taken by what is leased or coming. */
  #findPlace(base: string): boolean {
    const other = this.#slots.find(({ state }) => state === 'idle')
    if (this.#slots.length < this.#before.policy.slotsMax) {
      this.#slotsMade += 1
      this.#livesMade += 1
      const slot: SlotRecord = {
        id: this.#slotsMade,
        state: 'replacing',
        base,
        life: this.#livesMade,
        lease: 0,
      }
      this.#slots.push(slot)
      this.commands.push({ type: 'make', slot: slot.id, life: slot.life, base })
      return true
    }
    if (other === undefined) return false
    this.#replace(other, 'replace', base)
    return true
  }

  #grant(slot: SlotRecord, waiter: Waiter): void {
    this.#move(slot, 'lease')
    slot.lease += 1
    this.waiters = this.waiters.filter((one) => one !== waiter)
    const { id, life, lease } = slot
    this.commands.push({ type: 'grant', waiter: waiter.id, slot: id, life, lease })
  }

  #replace(slot: SlotRecord, event: 'fail' | 'replace', base: string): void {
    this.#move(slot, event)
    this.commands.push({ type: 'discard', life: slot.life })
    this.#livesMade += 1
    slot.life = this.#livesMade
    slot.base = base
    this.commands.push({ type: 'make', slot: slot.id, life: slot.life, base })
  }

  #discard(slot: SlotRecord): void {
    this.commands.push({ type: 'discard', life: slot.life })
    this.#move(slot, 'discard')
  }

  #move(slot: SlotRecord, event: SlotEvent): void {
    const state = slotAfter(slot.state, event)
    if (state === 'gone') this.#slots = this.#slots.filter((one) => one !== slot)
    else slot.state = state
  }

  /** The one that this is said of, if it is still what is waited for. */
  #awaited(id: number, life: number): SlotRecord | undefined {
    return this.#slots.find(
      (slot) =>
        slot.id === id &&
        slot.life === life &&
        (slot.state === 'resetting' || slot.state === 'replacing'),
    )
  }
}
