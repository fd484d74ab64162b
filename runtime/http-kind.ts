/** The kind `http`, as `[worker]` of the configuration has it. */
import type { Kind } from '../actors/kind.ts'
import type { Config } from '../config/schema.ts'
import { httpInput, isPlainInput } from './execute/http/body-pattern.ts'
import { httpExecutor } from './execute/http/request.ts'

const paceMs = 20

export function httpKind(worker: Config['worker']): Kind {
  const executor = httpExecutor({
    timeoutMs: worker.handlerTimeoutMs,
    phaseMs: {
      resolve: worker.httpResolveMs,
      connect: worker.httpConnectMs,
      tls: worker.httpTlsMs,
      processing: worker.httpProcessingMs,
      transfer: worker.httpTransferMs,
    },
    bytesMax: worker.outputBytesMax,
    linkLocal: worker.httpLinkLocal,
    caFile: worker.httpCaFile,
  })
  return {
    kind: 'http',
    input: httpInput,
    isPlain: isPlainInput,
    profile: 'io',
    executor,
    retries: 'handler',
    attempts: worker.attempts,
    concurrency: worker.httpConcurrency,
    paceMs,
    limitMs: ({ timeoutMs }) => timeoutMs ?? worker.handlerTimeoutMs,
  }
}
