/** Probes without a network: each endpoint answers as it was told to, others are not there. */
import { MusterError } from '../../actors/errors.ts'
import type { Probes } from '../../actors/ports-probe.ts'

/** `silent`: it takes the question and never answers. */
export type ProbeAnswer = 'well' | 'sick' | 'silent'

/** @param answers by URL; what is not in it refuses the connection */
export function memoryProbes(answers: ReadonlyMap<string, ProbeAnswer>): Probes {
  return {
    async probe({ url }, signal) {
      if (signal.aborted) throw aborted()
      const answer = answers.get(url)
      if (answer === 'well') return
      if (answer === 'sick') throw new MusterError('HTTP_STATUS', 'expected status 200 to 299')
      if (answer === undefined) throw new MusterError('ECONNREFUSED', `nobody listens at ${url}`)
      const end = Promise.withResolvers<never>()
      signal.addEventListener('abort', () => end.reject(aborted()), { once: true })
      await end.promise
    },
    close: () => Promise.resolve(),
  }
}

function aborted(): MusterError {
  return new MusterError('ABORTED', 'stopped before it ended: nobody waits for it any more')
}
