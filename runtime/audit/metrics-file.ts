/** metrics.yaml: what an audit asks for, and how it judges the answers. */
import { readFile, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import {
  DataDirectoryError,
  describeError,
  NotFoundError,
  UsageError,
} from '../../actors/errors.ts'
import { nearest } from '../../config/nearest.ts'
import { defaultThresholds, type HealthThresholds } from '../../machines/health.ts'
import { type QueryKey, queryKeys } from './report.ts'

export const defaultMetricsFile = 'metrics.yaml'

/** The thresholds by their keys in the file. */
const thresholdOfKey = {
  health_score_collapse: 'collapseScore',
  health_score_critical: 'criticalScore',
  health_score_degraded: 'degradedScore',
  max_event_loop_lag_s: 'eventLoopLagSeconds',
  max_blocking_duration_s: 'blockingSeconds',
  max_queue_wait_s: 'queueWaitSeconds',
  max_threadpool_backlog: 'backlog',
  max_active_requests: 'activeRequests',
  load_warning_threshold: 'activeRequestsWarning',
  latency_hide_threshold_s: 'hiddenLagSeconds',
  p99_latency_hide_threshold_s: 'hidingLatencySeconds',
} as const satisfies Record<string, keyof HealthThresholds>

type ThresholdKey = keyof typeof thresholdOfKey
const thresholdKeys = Object.keys(thresholdOfKey) as ThresholdKey[]

/** Thresholds as the file has them; those it lacks are the defaults. */
export type ThresholdValues = { readonly [Key in ThresholdKey]?: number }

export interface MetricsFile {
  target: string
  /** PromQL; an absent or empty one is not asked. */
  queries: { readonly [Key in QueryKey]?: string }
  thresholds: ThresholdValues
}

export function thresholdsOf(values: ThresholdValues): HealthThresholds {
  const set = thresholdKeys.flatMap((key) => {
    const value = values[key]
    return value === undefined ? [] : [[thresholdOfKey[key], value]]
  })
  return { ...defaultThresholds, ...(Object.fromEntries(set) as Partial<HealthThresholds>) }
}

/**
 * @throws NotFoundError when it is not there, UsageError with every problem when it cannot be taken
 */
export async function readMetricsFile(file: string): Promise<MetricsFile> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new NotFoundError(
      `Failed to load config ${file}: ${describeError(error).message}.\n${waysOut}`,
    )
  }
  try {
    return metricsOf(Bun.YAML.parse(text))
  } catch (error) {
    const { message } = describeError(error)
    throw new UsageError(`Failed to load config ${file}: ${message}`, 'METRICS_FILE')
  }
}

export function noMetricsFile(): NotFoundError {
  return new NotFoundError(`No metrics configuration found.\n${waysOut}`)
}

const waysOut =
  'Run:\n  muster audit --init\nor provide explicit path:\n  muster audit --config <path>'

/**
 * @returns where it is now
 * @throws DataDirectoryError when it is there already, or cannot be made
 */
export async function writeTemplate(): Promise<string> {
  const file = resolve(defaultMetricsFile)
  const template = await readFile(new URL('../../config/metrics.yaml', import.meta.url))
  try {
    // `wx`: of two at the same time one is refused, and nothing is ever overwritten.
    await writeFile(file, template, { flag: 'wx' })
    return file
  } catch (error) {
    const isThere = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    const message = isThere
      ? `${defaultMetricsFile} already exists in this directory.`
      : `Could not generate template: ${describeError(error).message}`
    throw new DataDirectoryError(message, { cause: error })
  }
}

/** @throws UsageError with a line for every problem */
function metricsOf(value: unknown): MetricsFile {
  if (value === null || value === undefined) throw new UsageError('metrics config is empty')
  const problems: string[] = []
  const file = mapping('', value, ['target', 'queries', 'thresholds'], problems)
  const queries = mapping('queries', file['queries'] ?? {}, queryKeys, problems)
  const thresholds = mapping('thresholds', file['thresholds'] ?? {}, thresholdKeys, problems)
  const { target = 'http://localhost:9090' } = file
  if (typeof target !== 'string') problems.push(`target: expected a URL, got ${show(target)}`)
  for (const key of queryKeys) {
    const query = queries[key] ?? ''
    if (typeof query === 'string') continue
    problems.push(`queries.${key}: expected PromQL in a string, got ${show(query)}`)
  }
  for (const [key, threshold] of Object.entries(thresholds)) {
    if (typeof threshold === 'number' && !Number.isNaN(threshold)) continue
    problems.push(`thresholds.${key}: expected a number, got ${show(threshold)}`)
  }
  if (problems.length > 0) throw new UsageError(problems.join('\n'))
  return { target, queries, thresholds } as MetricsFile
}

type Mapping = Record<string, unknown>

function mapping(
  path: string,
  value: unknown,
  known: readonly string[],
  problems: string[],
): Mapping {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    problems.push(`${path === '' ? 'the file' : path}: expected a mapping, got ${show(value)}`)
    return {}
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) problems.push(unknownKey(path === '' ? key : `${path}.${key}`, known))
  }
  return value as Mapping
}

function unknownKey(path: string, known: readonly string[]): string {
  const meant = nearest(path.split('.').at(-1) ?? '', known)
  const hint =
    meant === undefined ? `expected one of ${known.join(', ')}` : `did you mean ${meant}?`
  return `${path}: unknown key; ${hint}`
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' && value !== null ? 'a mapping' : String(value)
}

/**
 * Thresholds from the query of a URL, under the keys of the file.
 * @throws UsageError naming the first that cannot be taken
 */
export function thresholdsIn(search: URLSearchParams): HealthThresholds {
  const values: { [Key in ThresholdKey]?: number } = {}
  for (const [name, text] of search) {
    const key = thresholdKeys.find((each) => each === name)
    if (key === undefined) throw new UsageError(unknownKey(name, thresholdKeys))
    const number = Number(text)
    if (text.trim() === '' || Number.isNaN(number)) {
      throw new UsageError(`${name}: expected a number, got '${text}'`)
    }
    values[key] = number
  }
  return thresholdsOf(values)
}
