/** `muster audit`: is the runtime as well as its latency says? For people, and to gate a build. */
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { DataDirectoryError, describeError, MusterError, UsageError } from '../../actors/errors.ts'
import { assessHealth } from '../../machines/health.ts'
import {
  defaultMetricsFile,
  type MetricsFile,
  noMetricsFile,
  readMetricsFile,
  thresholdsOf,
  writeTemplate,
} from '../audit/metrics-file.ts'
import { askNode } from '../audit/node.ts'
import { placeOf, readPrometheus } from '../audit/prometheus.ts'
import {
  type AuditReport,
  isCritical,
  type Missing,
  missingText,
  reportOf,
  reportText,
} from '../audit/report.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { readToken } from './locate.ts'
import type { Terminal } from './terminal.ts'

export interface AuditFlags {
  target?: string
  node?: string
  outputFormat?: 'text' | 'json'
  failOnCritical?: boolean
  strictTelemetry?: boolean
  report?: string
  init?: boolean
}

/** The telemetry is there and lacks something, and that was not to be passed over. */
class IncompleteError extends MusterError {
  readonly missing: readonly Missing[]
  constructor(missing: readonly Missing[]) {
    const lines = missing.map((each) => `  ${missingText(each)}`)
    super('TELEMETRY_INCOMPLETE', `Telemetry is incomplete:\n${lines.join('\n')}`)
    this.missing = missing
  }
}

/** Exits 0 when audited, 1 for --fail-on-critical and for whatever kept it from an audit. */
export async function audit(invocation: Invocation, flags: AuditFlags): Promise<number> {
  const { globals, terminal } = invocation
  if (globals.url !== undefined) {
    throw new UsageError(
      '--url: `audit` takes --node URL for a node, --target URL for a Prometheus',
    )
  }
  const isJson = (flags.outputFormat ?? (terminal.json ? 'json' : 'text')) === 'json'
  try {
    if (flags.init === true) {
      const file = await writeTemplate()
      await terminal.print(isJson ? json({ file }) : `Successfully generated template: ${file}\n`)
      return exitCodes.ok
    }
    return await perform(invocation, flags, isJson)
  } catch (error) {
    if (!(error instanceof MusterError)) throw error
    await complain(error, terminal, flags, isJson)
    return exitCodes.notOk
  }
}

async function perform(
  invocation: Invocation,
  flags: AuditFlags,
  isJson: boolean,
): Promise<number> {
  const { terminal } = invocation
  const { report, target, config } = await makeReport(invocation, flags)
  if (flags.strictTelemetry === true && report.missing.length > 0) {
    throw new IncompleteError(report.missing)
  }
  for (const each of report.missing) warn(terminal, each, config)
  if (flags.report !== undefined) await write(flags.report, report)
  if (isJson) await terminal.print(json(report))
  else {
    const paint = (status: string) =>
      status === 'HEALTHY' ? terminal.out.green(status) : terminal.out.red(status)
    await terminal.print(reportText(report, { target, config, paint }))
    const file = resolve('audit_results.json')
    await write(file, report)
    await terminal.print(`JSON audit report written to:\n${file}\n`)
  }
  return flags.failOnCritical === true && isCritical(report) ? exitCodes.notOk : exitCodes.ok
}

interface Made {
  report: AuditReport
  target: string
  config: string
}

async function makeReport({ globals }: Invocation, flags: AuditFlags): Promise<Made> {
  const own = join(process.cwd(), defaultMetricsFile)
  const file = globals.config ?? (existsSync(own) ? own : undefined)
  const metrics = file === undefined ? undefined : await readMetricsFile(file)
  if (flags.node !== undefined) {
    const token = await readToken(globals)
    const report = await askNode({
      url: flags.node,
      thresholds: metrics?.thresholds ?? {},
      ...(token === undefined ? {} : { token }),
    })
    return { report, target: flags.node, config: file ?? 'none; default thresholds' }
  }
  if (metrics === undefined || file === undefined) throw noMetricsFile()
  return { ...(await auditPrometheus(metrics, flags.target ?? metrics.target)), config: file }
}

async function auditPrometheus(
  { queries, thresholds }: MetricsFile,
  url: string,
): Promise<Omit<Made, 'config'>> {
  const { measured, missing } = await readPrometheus({ url, queries })
  const health = assessHealth(measured, thresholdsOf(thresholds))
  return { report: reportOf(health, missing), target: placeOf(url).url }
}

function warn(terminal: Terminal, each: Missing, config: string): void {
  const { query, reason, detail } = each
  if (reason === 'query failed') {
    terminal.warn(`[ERROR] Prometheus query failed for '${query}': ${detail}`)
  } else if (reason === 'key absent') {
    terminal.say(`[WARNING] Query key '${query}' not found in ${config}`)
  } else terminal.say(`[WARNING] ${missingText(each)}: counted as 0.0`)
}

/** In JSON the error is data; for people it is on stderr in any case. */
async function complain(
  error: MusterError,
  terminal: Terminal,
  flags: AuditFlags,
  isJson: boolean,
): Promise<void> {
  const { code, message } = error
  const missing = error instanceof IncompleteError ? { missing: error.missing } : {}
  const answer = { error: { code, message }, ...missing }
  terminal.warn(`${flags.init === true ? '[ERROR]' : '[FATAL]'} ${message}`)
  if (isJson) await terminal.print(json(answer))
  if (flags.report === undefined || flags.init === true) return
  try {
    // An old report must not be taken for what was found now.
    await write(flags.report, answer)
  } catch (problem) {
    terminal.warn(`[ERROR] ${describeError(problem).message}`)
  }
}

async function write(file: string, value: unknown): Promise<void> {
  try {
    await writeFile(file, json(value))
  } catch (error) {
    const { message } = describeError(error)
    throw new DataDirectoryError(`Could not write ${file}: ${message}`, { cause: error })
  }
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
