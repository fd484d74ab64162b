/** The probes port over HTTP: a GET answered with 200 to 299, wherever kind `http` may go. */
import { MusterError } from '../../../actors/errors.ts'
import type { Probes } from '../../../actors/ports-probe.ts'
import { type HttpOptions, httpExecutor } from './request.ts'

/** The time limit is of whoever asks. */
const timeoutMs = 60_000
/** What it says is not looked at. */
const bytesMax = 1024

export async function httpProbes(
  options: Pick<HttpOptions, 'linkLocal' | 'caFile' | 'lookup'>,
): Promise<Probes> {
  const executor = httpExecutor({ ...options, timeoutMs, bytesMax })
  await executor.start()
  return {
    async probe({ name, url }, signal) {
      // A redirect is not an answer: what it leads to may be well when this is not.
      const input = { url, maxRedirects: 0 }
      const context = { run: `probe-${name}`, seq: 0, kind: 'http', attempt: 1, signal }
      const { outcome, error } = await executor.run({ input }, context)
      if (outcome === 'ok') return
      throw new MusterError(error?.code ?? 'FAILED', error?.message ?? `${url} did not answer`)
    },
    close: () => executor.stop(),
  }
}
