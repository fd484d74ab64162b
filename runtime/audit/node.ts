/** The audit that a node makes of itself. */
import { MusterError, UnavailableError } from '../../actors/errors.ts'
import { HttpClient, queryString } from '../client-http.ts'
import type { ThresholdValues } from './metrics-file.ts'
import { type AuditReport, reportSchema } from './report.ts'

export interface AskedNode {
  url: string
  token?: string
  /** Those of the node, where they are not given. */
  thresholds: ThresholdValues
  withinMs?: number
}

/** @throws MusterError when the node cannot be asked, or answers with something else */
export async function askNode(options: AskedNode): Promise<AuditReport> {
  const { url, token, thresholds, withinMs = 10_000 } = options
  const client = new HttpClient({ url, ...(token === undefined ? {} : { token }) })
  const signal = AbortSignal.timeout(withinMs)
  let answer: unknown
  try {
    const response = await client.call(`/v1/audit${queryString(thresholds)}`, { signal })
    answer = await client.json(response, signal)
  } catch (error) {
    if (!signal.aborted || error instanceof MusterError) throw error
    throw new UnavailableError(`no answer of ${client.url} within ${withinMs / 1000} s`)
  }
  const { success, data } = reportSchema.safeParse(answer)
  if (success) return data
  throw new UnavailableError(
    `expected the report of an audit from ${client.url}/v1/audit, got something else; ` +
      'is it a Muster node? For a Prometheus say --target',
  )
}
