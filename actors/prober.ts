/**
 * Asks endpoints again and again how they are: many side by side, so that those which do not answer
 * hold up nobody. The work of a singleton; what it knows is kept under its lease, where every node
 * reads it, and where the next one that leads goes on from.
 */
import {
  type EndpointRecord,
  isUsable,
  type ProbePolicy,
  type ProbeResult,
  probed,
  probeIntervalMs,
  unknownEndpoint,
} from '../machines/prober.ts'
import { Deadlines } from './deadlines.ts'
import { describeError, FencedError, MusterError } from './errors.ts'
import type { Clock, Log } from './ports.ts'
import type { Fence } from './ports-fleet.ts'
import type { Endpoint, Probes } from './ports-probe.ts'

export interface ProberOptions {
  endpoints: readonly Endpoint[]
  probes: Pick<Probes, 'probe'>
  policy: ProbePolicy
  /** How long an endpoint may take, ms. */
  timeoutMs: number
  /** Probes under way at a time. */
  concurrency: number
  clock: Clock
  random(): number
  log: Log
}

/** An endpoint as it is shown: `GET /v1/endpoints`. Times are epoch ms. */
export type EndpointLine = Endpoint & EndpointRecord & { isUsable: boolean }

/** The name of the singleton, and of its lease. */
export const proberName = 'prober'
/** The name of what it keeps under that. */
export const endpointsKey = 'endpoints'
/** What is known is kept this often at most, ms; changes of state at once. */
const keepMs = 5000
/** Of the interval: endpoints that were asked together drift apart. */
const jitter = 0.1

/** Probes until the signal aborts. Rejects with FencedError once somebody else does. */
export async function probeEndpoints(
  options: ProberOptions,
  fence: Pick<Fence, 'put' | 'get'>,
  signal: AbortSignal,
): Promise<void> {
  await new Prober(options, fence, signal).work()
}

/** What was kept, as it is to be shown at `now`. */
export function endpointLines(kept: string | undefined, now: number): EndpointLine[] {
  return recordsOf(kept).map((line) => Object.assign(line, { isUsable: isUsable(line, now) }))
}

type Known = Endpoint & EndpointRecord

class Prober {
  readonly #options: ProberOptions
  readonly #fence: Pick<Fence, 'put' | 'get'>
  readonly #signal: AbortSignal
  readonly #known = new Map<string, Known>()
  readonly #due = new Deadlines()
  #underWay = 0
  /** Resolves when a probe ends, for whoever waits for that. */
  #freed = Promise.withResolvers<void>()
  #isUntold = false
  #toldAt = Number.NEGATIVE_INFINITY
  #isTelling = false
  #fenced: FencedError | undefined

  constructor(options: ProberOptions, fence: Pick<Fence, 'put' | 'get'>, signal: AbortSignal) {
    this.#options = options
    this.#fence = fence
    this.#signal = signal
  }

  async work(): Promise<void> {
    const { clock } = this.#options
    await this.#recall()
    while (!this.#signal.aborted) {
      if (this.#fenced !== undefined) throw this.#fenced
      this.#startDue()
      this.#tell()
      const woken = new AbortController()
      const either = AbortSignal.any([this.#signal, woken.signal])
      await Promise.race([clock.wait(this.#restMs(), either), this.#freed.promise])
      woken.abort()
      this.#freed = Promise.withResolvers()
    }
  }

  /** Until there is something to do that no end of a probe tells of. */
  #restMs(): number {
    const { clock, concurrency } = this.#options
    const now = clock.monotonic()
    const isFull = this.#underWay >= concurrency
    const next = isFull ? Number.POSITIVE_INFINITY : (this.#due.next ?? Number.POSITIVE_INFINITY)
    const tellAt = this.#isUntold ? this.#toldAt + keepMs : Number.POSITIVE_INFINITY
    return Math.max(1, Math.min(next - now, tellAt - now, keepMs))
  }

  /** What the one before knew of endpoints that are still the same. */
  async #recall(): Promise<void> {
    const { clock, endpoints, log } = this.#options
    const before = new Map<string, Known>()
    try {
      const kept = recordsOf(await this.#fence.get(endpointsKey))
      for (const one of kept) before.set(`${one.name} ${one.url}`, one)
    } catch (error) {
      log.warn(describeError(error), 'cannot recall how the endpoints were')
    }
    for (const { name, url } of endpoints) {
      const known = before.get(`${name} ${url}`) ?? unknownEndpoint
      this.#known.set(name, { ...known, name, url })
      this.#due.add(clock.monotonic(), name)
    }
  }

  #startDue(): void {
    const { clock, concurrency } = this.#options
    while (this.#underWay < concurrency) {
      const name = this.#due.take(clock.monotonic())
      if (name === undefined) return
      this.#underWay += 1
      void this.#probe(name).finally(() => {
        this.#underWay -= 1
        this.#freed.resolve()
      })
    }
  }

  /** Never rejects: whatever is wrong with one endpoint, the others are asked. */
  async #probe(name: string): Promise<void> {
    const { clock, policy, random, log } = this.#options
    const before = this.#known.get(name)
    if (before === undefined) return
    const begun = clock.monotonic()
    const result = await this.#ask(before)
    if (this.#signal.aborted) return
    const { url } = before
    const after: Known = { name, url, ...probed(before, result, clock.now(), policy) }
    this.#known.set(name, after)
    const spread = 1 + jitter * (2 * random() - 1)
    this.#due.add(begun + probeIntervalMs(after, policy) * spread, name)
    this.#isUntold = true
    if (after.state === before.state) return
    this.#toldAt = Number.NEGATIVE_INFINITY
    const { failures, lastError } = after
    if (after.state === 'offline') {
      log.warn({ endpoint: name, url, failures, error: lastError }, 'an endpoint is offline')
    } else if (before.state === 'offline') {
      log.info({ endpoint: name, url }, 'an endpoint is back')
    }
  }

  async #ask(endpoint: Endpoint): Promise<ProbeResult> {
    const { clock, probes, timeoutMs } = this.#options
    const begun = clock.monotonic()
    const over = new AbortController()
    const either = AbortSignal.any([this.#signal, over.signal])
    const { name, url } = endpoint
    // Also of one who does not heed the signal nobody hears any more.
    const late = clock.wait(timeoutMs, either).then(() => {
      throw new MusterError('TIMEOUT', `did not answer within ${timeoutMs} ms`)
    })
    try {
      await Promise.race([probes.probe({ name, url }, either), late])
      return { isOk: true, durationMs: clock.monotonic() - begun }
    } catch (error) {
      const { code, message } = describeError(error)
      return { isOk: false, durationMs: clock.monotonic() - begun, error: `${code}: ${message}` }
    } finally {
      over.abort()
      void late.catch(() => undefined)
    }
  }

  /** Keeps what is known, where every node finds it; a failure is made good by the next time. */
  #tell(): void {
    const { clock, log } = this.#options
    const now = clock.monotonic()
    if (this.#isTelling || !this.#isUntold || now < this.#toldAt + keepMs) return
    this.#isTelling = true
    this.#isUntold = false
    this.#toldAt = now
    const kept = JSON.stringify([...this.#known.values()])
    this.#fence
      .put(endpointsKey, kept)
      .catch((error: unknown) => {
        if (error instanceof FencedError) this.#fenced = error
        this.#isUntold = true
        log.warn(describeError(error), 'cannot keep how the endpoints are')
      })
      .finally(() => {
        this.#isTelling = false
        this.#freed.resolve()
      })
  }
}

function recordsOf(kept: string | undefined): Known[] {
  if (kept === undefined) return []
  return JSON.parse(kept) as Known[]
}
