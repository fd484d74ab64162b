/** How late the timers of a process run: what all its actors wait for while something blocks. */
import { untilTickMs } from '../clock.ts'

/** Time between two looks, ms: a block is measured too short by so much at most. */
const intervalMs = 20
/** While nothing is at hand and the process does next to nothing: looks wake the processor. */
const restMs = 1000
/** A process that uses so much of a core has work, though none was told to be at hand. */
const busyShare = 0.1
/** Over so long at least: what is done once a second must not make it busy. */
const busyOverMs = 500
/** Nothing at hand for so long is rest, ms. */
const restFromMs = 1000
/** What stands still so long, ms, is an event of its own. */
export const blockMs = 50
/** Of a block on purpose the sensor has to see so much, ms, to be believed. */
const proofMs = blockMs + intervalMs + 5
/** How far back quantiles look: longer than anybody lets pass between two scrapes. */
const windowMs = 60_000
const slices = 12
const sliceMs = windowMs / slices

interface Slice {
  until: number
  lagsMs: number[]
}

export interface LagSummary {
  /** Seconds, by quantile: 0.5, 0.9, 0.99 and 1. */
  quantiles: ReadonlyMap<number, number>
  count: number
  sumSeconds: number
}

/** How an event loop stood still of late. */
export interface Standstill {
  count: number
  sumMs: number
  maxMs: number
}

/** What became of a block on purpose. */
export interface LagProof {
  blockedMs: number
  sawMs: number
}

interface Proving {
  blockedMs: number
  resolve(proof: LagProof): void
}

export class LoopLag {
  readonly #monotonic: () => number
  readonly #onBlocked: (ms: number) => void
  #slices: Slice[] = []
  #count = 0
  #sumMs = 0
  /** Not yet taken by whoever sums them up elsewhere. */
  #fresh: number[] | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Blocks of the last minute, oldest first. */
  #blocks: { at: number; ms: number }[] = []
  #proving: Proving | undefined
  /** Pieces of work that are at hand, and since when it is none. */
  #atHand = 0
  #idleSinceMs = 0
  #isResting = false
  readonly #processorMs: () => number
  /** When the use of the processor was looked at last, and what it was. */
  #used = { at: 0, ms: 0 }
  /** When the next look is due. */
  #dueMs = 0

  /**
   * @param monotonic ms
   * @param onBlocked an event loop stood still for so many ms
   * @param processorMs what this process has used of the processor
   */
  constructor(
    monotonic: () => number,
    onBlocked: (ms: number) => void,
    processorMs: () => number = usedMs,
  ) {
    this.#monotonic = monotonic
    this.#processorMs = processorMs
    this.#onBlocked = onBlocked
  }

  /** @param collects whether `take` is going to be called */
  start({ collects }: { collects: boolean }): void {
    if (this.#timer !== undefined) return
    if (collects) this.#fresh = []
    this.#idleSinceMs = this.#monotonic()
    this.#used = { at: this.#idleSinceMs, ms: this.#processorMs() }
    this.#look()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Work has come to hand. Who was at rest looks closely from now on. */
  taken(): void {
    this.#atHand += 1
    if (this.#timer === undefined || !this.#isResting) return
    clearTimeout(this.#timer)
    // What has just stood still would not be seen any more.
    if (this.#monotonic() > this.#dueMs) this.#seen()
    else this.#look()
  }

  released(): void {
    this.answered()
    if (this.#atHand === 0) this.#idleSinceMs = this.#monotonic()
  }

  /** As `released`, of what is not followed by more as a rule: a request. */
  answered(): void {
    this.#atHand = Math.max(0, this.#atHand - 1)
  }

  /** The blocks of the last so many ms; undefined when nobody measures. */
  standstill(ms: number): Standstill | undefined {
    if (this.#count === 0) return undefined
    const from = this.#monotonic() - ms
    const recent = this.#blocks.filter(({ at }) => at >= from).map((block) => block.ms)
    const sumMs = recent.reduce((sum, block) => sum + block, 0)
    return { count: recent.length, sumMs, maxMs: Math.max(0, ...recent) }
  }

  /**
   * Blocks the event loop once, on purpose, right after a look, so that the next one has to be late
   * by what is left; that look counts nowhere. Undefined when nobody looks.
   */
  prove(): Promise<LagProof> | undefined {
    if (this.#timer === undefined) return undefined
    const { promise, resolve } = Promise.withResolvers<LagProof>()
    this.#proving = { blockedMs: 0, resolve }
    return promise
  }

  /** Lags since it was last asked, ms. */
  take(): number[] {
    if (this.#fresh === undefined) return []
    const taken = this.#fresh
    this.#fresh = []
    return taken
  }

  /** Lags that were measured in another process. */
  merge(lagsMs: readonly number[]): void {
    for (const lagMs of lagsMs) this.#keep(lagMs)
  }

  /** Undefined when nobody has measured. */
  summary(): LagSummary | undefined {
    if (this.#count === 0) return undefined
    this.#forget()
    const lags = Float64Array.from(this.#slices.flatMap(({ lagsMs }) => lagsMs)).sort()
    const at = (quantile: number) => {
      const index = Math.max(0, Math.ceil(quantile * lags.length) - 1)
      return (lags[index] ?? 0) / 1000
    }
    const quantiles = new Map([0.5, 0.9, 0.99, 1].map((quantile) => [quantile, at(quantile)]))
    return { quantiles, count: this.#count, sumSeconds: this.#sumMs / 1000 }
  }

  #look(): void {
    const now = this.#monotonic()
    if (this.#isBusy(now)) this.#idleSinceMs = now
    const isIdle = this.#atHand === 0 && now - this.#idleSinceMs >= restFromMs
    this.#isResting = isIdle && this.#proving === undefined
    const waitMs = this.#isResting ? untilTickMs(now, restMs) : intervalMs
    this.#dueMs = now + waitMs
    this.#timer = setTimeout(() => this.#seen(), waitMs)
    this.#timer.unref()
  }

  /** Whatever it does: a node without workers dispatches and collects, and may stand still too. */
  #isBusy(now: number): boolean {
    const overMs = now - this.#used.at
    if (overMs < busyOverMs) return false
    const ms = this.#processorMs()
    const isBusy = ms - this.#used.ms >= busyShare * overMs
    this.#used = { at: now, ms }
    return isBusy
  }

  #seen(): void {
    const late = this.#monotonic() - this.#dueMs
    const lagMs = Math.max(0, Math.round(late * 1000) / 1000)
    const proving = this.#proving
    if (proving !== undefined && proving.blockedMs > 0) {
      this.#proving = undefined
      proving.resolve({ blockedMs: proving.blockedMs, sawMs: lagMs })
    } else {
      this.#keep(lagMs)
      this.#fresh?.push(lagMs)
      if (lagMs >= blockMs) this.#onBlocked(lagMs)
    }
    this.#look()
    if (this.#proving !== undefined) this.#block(this.#proving)
  }

  #block(proving: Proving): void {
    const began = this.#monotonic()
    while (this.#monotonic() - began < proofMs) {
      // Nothing else is to run meanwhile.
    }
    proving.blockedMs = Math.round((this.#monotonic() - began) * 1000) / 1000
  }

  #keep(lagMs: number): void {
    this.#count += 1
    this.#sumMs += lagMs
    const now = this.#monotonic()
    let slice = this.#slices.at(-1)
    if (slice === undefined || now >= slice.until) {
      slice = { until: now + sliceMs, lagsMs: [] }
      this.#slices.push(slice)
      this.#forget()
    }
    slice.lagsMs.push(lagMs)
    if (lagMs < blockMs) return
    this.#blocks.push({ at: now, ms: lagMs })
    while ((this.#blocks[0]?.at ?? now) < now - windowMs) this.#blocks.shift()
  }

  #forget(): void {
    const now = this.#monotonic()
    this.#slices = this.#slices.filter(({ until }) => until + windowMs > now)
  }
}

function usedMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
