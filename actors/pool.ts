/**
 * Binds the pool of sandboxes to those who make them. Sandboxes are data here: one actor has all of
 * them. Whoever checks one out has it to himself until he gives it back.
 */
import type { AnyActorRef } from 'xstate'
import { type Bucket, type BucketPolicy, fullBucket, refill } from '../machines/bucket.ts'
import { poolMachine } from '../machines/pool.ts'
import {
  type PoolCommand,
  type PoolCounts,
  type PoolEvent,
  type PoolPolicy,
  type PoolState,
  poolCounts,
} from '../machines/pool-steps.ts'
import { isLive, type Tell } from './dead-letters.ts'
import { describeError, MusterError } from './errors.ts'
import type { PoolMeter } from './pool-meter.ts'
import type { Clock, Log } from './ports.ts'
import type { Sandbox, SandboxBase, Sandboxes } from './ports-sandbox.ts'
import type { ChildSpec } from './supervisor.ts'

export interface PoolOptions extends PoolPolicy {
  sandboxes: Sandboxes
  /** How long a checkout waits for a sandbox. */
  checkoutTimeoutMs: number
  /** How many sandboxes may be checked out; beyond it a checkout is refused. */
  rate?: BucketPolicy
  clock: Clock
  tell: Tell
  containers?: PoolMeter
  log: Log
}

/** Somebody's sandbox, until he gives it back. */
export interface SandboxLease {
  readonly sandbox: Sandbox
  readonly slot: number
  readonly lease: number
  /** @param isBroken nobody is to use it again: another is made in its place */
  giveBack(isBroken: boolean): void
}

export interface PoolStats extends PoolCounts {
  resets: number
  makeErrors: number
  checkoutTimeouts: number
}

const basesMax = 1000

interface Grant {
  slot: number
  life: number
  lease: number
  self: AnyActorRef
  sandbox: Sandbox
}

export class SandboxPool {
  readonly #options: PoolOptions
  readonly #bases = new Map<string, SandboxBase>()
  readonly #waiting = new Map<number, PromiseWithResolvers<Grant>>()
  #self: AnyActorRef | undefined
  /** Those of the present life of the actor. */
  #sandboxes = new Map<number, Sandbox>()
  #bucket: Bucket | undefined
  #waiters = 0
  #resets = 0
  #makeErrors = 0
  #checkoutTimeouts = 0

  constructor(options: PoolOptions) {
    this.#options = options
  }

  get stats(): PoolStats {
    return {
      ...this.#counts(),
      resets: this.#resets,
      makeErrors: this.#makeErrors,
      checkoutTimeouts: this.#checkoutTimeouts,
    }
  }

  #counts(): PoolCounts {
    const self = this.#self
    // One that has failed has none: its next life takes away what it had.
    if (self === undefined || !isLive(self)) return poolCounts({ slots: [], waiters: [] })
    return poolCounts((self.getSnapshot() as { context: PoolState }).context)
  }

  /** One life of the pool. What an earlier one still had is taken away. */
  spec(): ChildSpec {
    const before = this.#sandboxes
    this.#sandboxes = new Map()
    for (const sandbox of before.values()) this.#destroy(sandbox)
    for (const waiting of this.#waiting.values()) waiting.reject(poolAway())
    this.#waiting.clear()
    const { slotsMax, isReused } = this.#options
    return {
      input: { slotsMax, isReused },
      logic: poolMachine.provide({
        actions: {
          opened: ({ self }) => {
            this.#self = self
            this.#options.containers?.watched(() => this.#counts())
          },
          carryOut: ({ self }, command) => this.#carryOut(self, command),
        },
      }),
    }
  }

  /**
   * First come, first served.
   * @throws MusterError CHECKOUT_TIMEOUT, SANDBOX_RATE, POOL_CLOSED
   * @throws what the signal says, or why none could be made
   */
  async checkout(base: SandboxBase, signal: AbortSignal): Promise<SandboxLease> {
    const { clock, containers } = this.#options
    const began = clock.monotonic()
    try {
      const lease = await this.#checkout(base, signal)
      containers?.checkedOut(clock.monotonic() - began)
      return lease
    } catch (error) {
      containers?.refused(signal.aborted ? 'ABORTED' : describeError(error).code)
      throw error
    }
  }

  async #checkout(base: SandboxBase, signal: AbortSignal): Promise<SandboxLease> {
    signal.throwIfAborted()
    this.#pay()
    const self = this.#self
    if (self === undefined || !isLive(self)) throw poolAway()
    const key = this.#options.sandboxes.keyOf(base)
    this.#remember(self, key, base)
    this.#waiters += 1
    const waiter = this.#waiters
    const granted = Promise.withResolvers<Grant>()
    this.#waiting.set(waiter, granted)
    const settled = new AbortController()
    const giveUp = (error: unknown) => {
      if (!this.#waiting.delete(waiter)) return
      this.#send(self, { type: 'slot.unwanted', waiter })
      granted.reject(error)
    }
    const onAbort = () => giveUp(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    void this.#expire(settled.signal, giveUp)
    this.#send(self, { type: 'slot.wanted', waiter, base: key })
    try {
      return this.#leaseOf(await granted.promise)
    } finally {
      signal.removeEventListener('abort', onAbort)
      settled.abort()
    }
  }

  /** Of bases that nobody has or waits for nothing is kept. */
  #remember(self: AnyActorRef, key: string, base: SandboxBase): void {
    if (this.#bases.size >= basesMax) {
      const { slots, waiters } = (self.getSnapshot() as { context: PoolState }).context
      const used = new Set([...slots, ...waiters].map((one) => one.base))
      for (const known of this.#bases.keys()) if (!used.has(known)) this.#bases.delete(known)
    }
    this.#bases.set(key, base)
  }

  async #expire(settled: AbortSignal, giveUp: (error: unknown) => void): Promise<void> {
    const { clock, checkoutTimeoutMs } = this.#options
    await clock.wait(checkoutTimeoutMs, settled)
    if (settled.aborted) return
    this.#checkoutTimeouts += 1
    const { total, leased, resetting, replacing } = this.#counts()
    const coming = resetting + replacing
    const made = coming === 0 ? '' : `, ${coming} ${coming === 1 ? 'is' : 'are'} being made`
    const message =
      `no container was free within ${checkoutTimeoutMs} ms ` +
      `(${leased} of ${total} are in use${made}); ` +
      'raise worker.containerSlots or worker.containerCheckoutMs'
    giveUp(new MusterError('CHECKOUT_TIMEOUT', message))
  }

  /** @throws MusterError SANDBOX_RATE when there were too many of late */
  #pay(): void {
    const { rate, clock } = this.#options
    if (rate === undefined) return
    const at = clock.monotonic()
    const bucket = refill(this.#bucket ?? fullBucket(rate, at), rate, at)
    this.#bucket = bucket
    if (bucket.tokens < 1) {
      const message =
        `more than ${rate.rate} containers a second were to be made; use them again ` +
        '(worker.containerMode = "pooled"), or raise worker.containerEphemeralRate'
      throw new MusterError('SANDBOX_RATE', message)
    }
    bucket.tokens -= 1
  }

  #leaseOf({ self, sandbox, slot, lease, life }: Grant): SandboxLease {
    let isOver = false
    return {
      sandbox,
      slot,
      lease,
      giveBack: (isBroken) => {
        if (isOver) return
        isOver = true
        if (isLive(self)) this.#send(self, { type: 'slot.given', slot, lease, isBroken })
        else {
          this.#sandboxes.delete(life)
          this.#destroy(sandbox)
        }
      },
    }
  }

  #carryOut(self: AnyActorRef, command: PoolCommand): void {
    switch (command.type) {
      case 'make':
        this.#begin(() => this.#make(self, command))
        break
      case 'reset':
        this.#begin(() => this.#reset(self, command))
        break
      case 'discard':
        this.#discard(command.life)
        break
      case 'grant':
        this.#grant(self, command)
        break
      case 'refuse': {
        const waiting = this.#waiting.get(command.waiter)
        this.#waiting.delete(command.waiter)
        waiting?.reject(command.error ?? poolAway())
        break
      }
    }
  }

  async #make(
    self: AnyActorRef,
    { slot, life, base }: Extract<PoolCommand, { type: 'make' }>,
  ): Promise<void> {
    const { sandboxes, log } = this.#options
    const mine = this.#sandboxes
    try {
      const of = this.#bases.get(base)
      if (of === undefined) throw new Error(`expected a known base, got ${base}`)
      const sandbox = await sandboxes.create(of)
      // The actor has ended meanwhile: nobody would take it away.
      if (mine !== this.#sandboxes || !isLive(self)) return this.#destroy(sandbox)
      mine.set(life, sandbox)
      this.#send(self, { type: 'slot.done', slot, life })
    } catch (error) {
      this.#makeErrors += 1
      this.#options.containers?.unmade()
      log.warn({ slot, base, ...describeError(error) }, 'a container could not be made')
      if (isLive(self)) this.#send(self, { type: 'slot.failed', slot, life, error })
    }
  }

  async #reset(
    self: AnyActorRef,
    { slot, life }: Extract<PoolCommand, { type: 'reset' }>,
  ): Promise<void> {
    try {
      await this.#sandboxes.get(life)?.reset()
      this.#resets += 1
      this.#options.containers?.reset(true)
      if (isLive(self)) this.#send(self, { type: 'slot.done', slot, life })
    } catch (error) {
      const { containers, log } = this.#options
      containers?.reset(false)
      log.warn({ slot, ...describeError(error) }, 'a container is not clean and will be replaced')
      if (isLive(self)) this.#send(self, { type: 'slot.failed', slot, life, error })
    }
  }

  #grant(
    self: AnyActorRef,
    { waiter, slot, life, lease }: Extract<PoolCommand, { type: 'grant' }>,
  ): void {
    const sandbox = this.#sandboxes.get(life)
    const waiting = this.#waiting.get(waiter)
    this.#waiting.delete(waiter)
    if (sandbox !== undefined && waiting !== undefined) {
      waiting.resolve({ self, sandbox, slot, life, lease })
      return
    }
    // He has just given up waiting. From within a transition nothing reaches its own machine but
    // after it.
    this.#send(self, { type: 'slot.given', slot, lease, isBroken: sandbox === undefined })
    waiting?.reject(poolAway())
  }

  #discard(life: number): void {
    const sandbox = this.#sandboxes.get(life)
    this.#sandboxes.delete(life)
    if (sandbox !== undefined) this.#destroy(sandbox)
  }

  #destroy(sandbox: Sandbox): void {
    const { log } = this.#options
    this.#begin(async () => {
      try {
        await sandbox.destroy()
      } catch (error) {
        log.warn(describeError(error), 'a container could not be taken away')
      }
    })
  }

  /** After the transition that asked for it: whoever does it may have actors of his own. */
  #begin(work: () => Promise<void>): void {
    void Promise.resolve().then(work)
  }

  #send(self: AnyActorRef, event: PoolEvent): void {
    this.#options.tell(self, event)
  }
}

function poolAway(): MusterError {
  return new MusterError('POOL_CLOSED', 'the pool of containers is closed, or not open yet')
}
