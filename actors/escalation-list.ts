/** Escalations as they are shown, and their acknowledgement. */
import { acknowledge, type Escalation } from '../machines/escalation.ts'
import { sumOf, type WindowShape } from '../machines/window.ts'
import { NotFoundError, UnavailableError } from './errors.ts'
import { type EscalationCounter, kindOf, metricOf } from './escalation.ts'
import type { Log } from './ports.ts'
import type { Escalations, WindowsReading } from './ports-escalations.ts'

/** One of `GET /v1/escalations`. */
export interface EscalationLine extends Omit<Escalation, 'version'> {
  kind: string
  /** What its window holds over all nodes; null: that cannot be known now. */
  window: number | null
  /** Where that is not known: what is surely in it. */
  atLeast?: number
  /** The window bucket by bucket, the current one last. */
  buckets: readonly number[] | null
  threshold: number
  windowMs: number
}

export interface EscalationListOptions {
  escalations: Pick<Escalations, 'look' | 'put'>
  /** Knows what there was when the windows cannot be had. */
  counter?: Pick<EscalationCounter, 'last'>
  threshold: number
  shape: WindowShape
  log: Log
}

/** A change that somebody else makes at the same time is looked at again. */
const triesMax = 5

/**
 * Those that are open or acknowledged, by the time they opened; with `all` the last one of every
 * kind.
 * @throws UnavailableError when the windows cannot be had, and nothing is known of an escalation:
 * that is not the same as there being none
 */
export async function listEscalations(
  options: EscalationListOptions,
  { all = false }: { all?: boolean } = {},
): Promise<EscalationLine[]> {
  const linesOf = (reading: WindowsReading, atLeast?: ReadonlyMap<string, number>) =>
    [...reading.escalations.values()]
      .filter(({ state }) => all || state !== 'closed')
      .sort((one, other) => one.openedAt - other.openedAt)
      .map((escalation) => lineOf(options, escalation, reading, atLeast))
  try {
    return linesOf(await options.escalations.look())
  } catch (error) {
    const last = error instanceof UnavailableError ? options.counter?.last() : undefined
    const lines = last === undefined ? [] : linesOf(last.reading, last.atLeast)
    if (lines.length === 0) throw error
    return lines
  }
}

/**
 * Somebody has seen it. One that is acknowledged already stays as it is.
 * @param name its metric, or the kind that it is about
 * @throws NotFoundError when no such escalation is open
 */
export async function acknowledgeEscalation(
  options: EscalationListOptions,
  name: string,
  reason: string | undefined,
): Promise<EscalationLine> {
  const { escalations, log } = options
  const metric = kindOf(name) === undefined ? metricOf(name) : name
  for (let tries = 0; tries < triesMax; tries += 1) {
    const reading = await escalations.look()
    const before = reading.escalations.get(metric)
    if (before === undefined || before.state === 'closed') {
      throw new NotFoundError(
        `no escalation ${metric} is open; \`muster escalations\` lists those that are`,
      )
    }
    const next = acknowledge(before, reading.at, reason)
    if (next === undefined) return lineOf(options, before, reading)
    if (await escalations.put(next, before)) {
      log.info({ metric, reason }, 'an escalation was acknowledged')
      return lineOf(options, next, reading)
    }
  }
  throw new UnavailableError(`escalation ${metric} changes all the time; try again`)
}

function lineOf(
  { threshold, shape: { windowMs } }: EscalationListOptions,
  { version: _, ...escalation }: Escalation,
  { windows }: WindowsReading,
  atLeast?: ReadonlyMap<string, number>,
): EscalationLine {
  const { metric, state, ...rest } = escalation
  const buckets = atLeast === undefined ? (windows.get(metric) ?? []) : null
  return {
    metric,
    kind: kindOf(metric) ?? metric,
    state,
    window: buckets === null ? null : sumOf(buckets),
    ...(atLeast === undefined ? {} : { atLeast: atLeast.get(metric) ?? 0 }),
    buckets,
    threshold,
    windowMs,
    ...rest,
  }
}
