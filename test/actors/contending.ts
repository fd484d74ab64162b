/** Contenders for one lease, on the leases in memory and a clock that a test moves. */
import { expect } from 'bun:test'
import { type AnyActorRef, createActor } from 'xstate'
import { contenders, type LeaseWord, lease, type Tenure } from '../../actors/lease.ts'
import type { Leases } from '../../actors/ports-fleet.ts'
import type { LeaseTimes } from '../../machines/lease-times.ts'
import { memoryLeases } from '../../runtime/memory/leases.ts'
import { testClock } from '../kit/clock.ts'
import { seededRandom } from '../kit/random.ts'

export const times: LeaseTimes = { ttlMs: 1750, renewMs: 500, operationTimeoutMs: 300 }
/** A holder gives up so much sooner than Redis does. */
export const marginMs = 175
/** Of waiting contenders; the way to Redis takes no time here. */
export const jitterMs = 175
export const quiet = { debug() {}, info() {}, warn() {}, error() {} }

interface Contender {
  actor: AnyActorRef
  words: LeaseWord[]
  errors: unknown[]
  /** `held 1700000000000`, `lost refused`. */
  said(): string[]
  isHolding(): boolean
  /** The latest. */
  tenure(): Tenure
}

/** A place of its own, where nobody contends yet. */
export class Contest {
  readonly clock = testClock()
  readonly leases: Leases = memoryLeases({ now: () => this.clock.now(), log: quiet })
  readonly #begun: Contender[] = []
  readonly #names = new Map<string, () => string>()

  /** @param over what is otherwise on the way from this contender to the leases */
  begin(node: string, over: Partial<Leases> = {}): Contender {
    const words: LeaseWord[] = []
    const errors: unknown[] = []
    const names = this.#names.get(node) ?? contenders(node, 'boot')
    this.#names.set(node, names)
    const random = seededRandom()
    const { logic, input } = lease({
      name: 'a',
      contender: names(),
      times,
      leases: { ...this.leases, ...over },
      clock: this.clock,
      random: () => random.next(),
      log: quiet,
      tell: (word) => words.push(word),
    })
    const actor = createActor(logic, { input, clock: this.clock.timers })
    actor.subscribe({ error: (error: unknown) => errors.push(error) })
    actor.start()
    const contender: Contender = {
      actor,
      words,
      errors,
      said: () =>
        words.map((word) =>
          word.type === 'lease.held' ? `held ${word.tenure.grant.epoch}` : `lost ${word.reason}`,
        ),
      isHolding: () => actor.getSnapshot().hasTag('held'),
      tenure: () => {
        const held = words.findLast((word) => word.type === 'lease.held')
        if (held === undefined) throw new Error('expected it to have held the lease')
        return held.tenure
      },
    }
    this.#begun.push(contender)
    return contender
  }

  /** Takes everybody out; no timer may be left. */
  async end(): Promise<void> {
    for (const { actor } of this.#begun) actor.stop()
    // Operations under way are given up after their time.
    await this.clock.pass(times.operationTimeoutMs)
    expect(this.clock.armed).toBe(0)
  }
}

/** Answers that never come; what was asked is done all the same. */
export const unanswered =
  <A extends unknown[], T>(operation: (...args: A) => Promise<T>, isOn: () => boolean) =>
  (...args: A): Promise<T> => {
    const answer = operation(...args)
    return isOn() ? new Promise(() => undefined) : answer
  }
