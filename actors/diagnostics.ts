/**
 * What a node looks at when it reflects: its sensors, whether they are as usual, whether mailboxes
 * and leases are consistent, and how what it stands on is set.
 */
import {
  Baseline,
  type Deviation,
  type Sample,
  type WatchedMetric,
  watched,
} from '../machines/baseline.ts'
import type { Diagnosis, Finding } from '../machines/system-rules.ts'
import { describeError } from './errors.ts'
import type { Admission, Clock, Log, Mailboxes } from './ports.ts'
import type { Leases, Members } from './ports-fleet.ts'
import type { BaselineStore } from './ports-health.ts'
import type { Inspection } from './ports-system.ts'

export interface DiagnosticsPorts {
  mailboxes: Pick<Mailboxes, 'names' | 'depth'>
  admission: Pick<Admission, 'used'>
  leases: Pick<Leases, 'list'>
  members: Pick<Members, 'list'>
  inspection: Inspection
}

export interface DiagnosticsOptions {
  /** Asked for at each use: they are made anew when Redis was opened anew. */
  ports(): DiagnosticsPorts
  /** What is measured without asking anybody. */
  sensors(): Omit<Sample, 'redisMs'>
  /** 0 to 1; undefined where nobody measures it. */
  health(): number | undefined
  /** What makes it low, as a phrase. */
  because?(): string | undefined
  /** What was usual before this start of the node, if anybody keeps it. */
  baselines?: BaselineStore
  /** This node, as members know it, and the leases it takes itself to hold. */
  node: string
  held(): readonly string[]
  /** Silence after which a node is dead, ms. */
  staleMs: number
  clock: Clock
  log: Log
}

/** Between two samples of the baseline: in a week they are as many as it keeps. */
export const sampleMs = 30_000
/** Samples between two times that what is usual is kept: what a crash may cost of it. */
const keptApart = 20
/** What leaves a mailbox is on its way to be counted for a moment. */
const settleMs = 1000
/** What health each finding costs where nobody measures it. */
const costs = { info: 0, warning: 0.02, error: 0.15, critical: 0.3 } as const

export class Diagnostics {
  readonly #options: DiagnosticsOptions
  readonly #baseline = new Baseline()
  #isRecalled = false

  constructor(options: DiagnosticsOptions) {
    this.#options = options
  }

  /** Takes samples until the signal aborts; what is usual is kept now and then, and at the end. */
  async watch(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options
    await this.#recall()
    for (let samples = 1; ; samples += 1) {
      await clock.wait(sampleMs, signal)
      if (signal.aborted) break
      try {
        this.#baseline.add(await this.#sample(), clock.now())
      } catch (error) {
        log.debug(describeError(error), 'a sample of the baseline is missing')
      }
      if (samples % keptApart === 0) await this.#keep()
    }
    await this.#keep()
  }

  async #recall(): Promise<void> {
    const { baselines, clock, log } = this.#options
    if (baselines === undefined || this.#isRecalled) return
    this.#isRecalled = true
    try {
      this.#baseline.recall(await baselines.load(), clock.now())
    } catch (error) {
      log.warn(describeError(error), 'what was usual before this start cannot be read')
    }
  }

  async #keep(): Promise<void> {
    const { baselines, log } = this.#options
    try {
      await baselines?.save(this.#baseline.kept())
    } catch (error) {
      log.warn(describeError(error), 'what is usual cannot be kept for the next start')
    }
  }

  async diagnose(signal: AbortSignal): Promise<Diagnosis> {
    const ports = this.#options.ports()
    const sample = await this.#sample()
    const found = await Promise.all([
      this.#mailboxFindings(ports, signal),
      this.#leaseFindings(ports),
      ports.inspection.settings(),
    ])
    const because = this.#options.because?.()
    const low: Finding[] = because === undefined ? [] : [{ severity: 'error', what: because }]
    const findings = [...low, ...this.#sensorFindings(sample), ...found.flat()]
    const cost = findings.reduce((sum, { severity }) => sum + costs[severity], 0)
    const health = this.#options.health() ?? Math.max(0, 1 - cost)
    return { health, findings }
  }

  async #sample(): Promise<Sample> {
    const redisMs = await this.#options.ports().inspection.latencyMs()
    return { ...this.#options.sensors(), redisMs }
  }

  #sensorFindings(sample: Sample): Finding[] {
    const blind = (Object.keys(watched) as WatchedMetric[]).filter(
      (metric) => sample[metric] === undefined,
    )
    const unseen: Finding[] =
      blind.length === 0
        ? []
        : [{ severity: 'info', what: `nothing is measured of ${blind.join(', ')}` }]
    const now = this.#options.clock.now()
    return [...unseen, ...this.#baseline.deviations(sample, now).map(findingOf)]
  }

  /** Room is held by tasks: where there are none, somebody has lost count. */
  async #mailboxFindings(
    { mailboxes, admission }: DiagnosticsPorts,
    signal: AbortSignal,
  ): Promise<Finding[]> {
    const lost = async (name: string): Promise<number> => {
      const [used, { waiting, active, delayed }] = await Promise.all([
        admission.used(name),
        mailboxes.depth(name),
      ])
      return waiting + active + delayed === 0 ? used : 0
    }
    const suspects: [name: string, tasks: number][] = []
    for (const name of await mailboxes.names()) {
      const tasks = await lost(name)
      if (tasks > 0) suspects.push([name, tasks])
    }
    if (suspects.length === 0) return []
    await this.#options.clock.wait(settleMs, signal)
    const findings: Finding[] = []
    for (const [name, before] of suspects) {
      const tasks = await lost(name)
      if (tasks !== before) continue
      const what = `mailbox ${name}: ${tasks} tasks hold room and no message of them is there`
      findings.push({ severity: 'warning', what })
    }
    return findings
  }

  async #leaseFindings({ leases, members }: DiagnosticsPorts): Promise<Finding[]> {
    const { node, held, staleMs } = this.#options
    const [all, known] = await Promise.all([leases.list(), members.list(staleMs)])
    const living = new Set(known.filter(({ state }) => state !== 'dead').map(({ id }) => id))
    const findings: Finding[] = []
    for (const { name, holder } of all) {
      if (living.has(holder)) continue
      findings.push({
        severity: 'warning',
        what: `lease ${name} is held by ${holder}, which is dead`,
      })
    }
    for (const name of held()) {
      const holder = all.find((lease) => lease.name === name)?.holder
      if (holder === undefined || holder === node) continue
      const what = `lease ${name} is taken for held here, and ${holder} holds it`
      findings.push({ severity: 'error', what })
    }
    return findings
  }
}

function findingOf({ metric, window, value, mean, z, severity }: Deviation): Finding {
  const round = (number: number) => Math.round(number * 1000) / 1000
  const usual =
    z === 0 ? 'nothing usual is known' : `usual ${round(mean)} in ${window}, z ${round(z)}`
  return { severity, what: `${metric} is ${round(value)} (${usual})` }
}
