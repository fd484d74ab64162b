/** The kind `container`, as `[worker]` of the configuration has it. */
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { containerInput } from '../actors/container-input.ts'
import type { Kind } from '../actors/kind.ts'
import type { Log } from '../actors/ports.ts'
import type { Config } from '../config/schema.ts'
import { containerExecutor } from './execute/container.ts'

const paceMs = 100
/** As for commands. */
const killGraceMsMax = 5000
/** Beyond SIGKILL: to die, the rest of the output, and a container to be made first. */
const endMs = 10_000 + 200 + 60_000

export function containerKind(worker: Config['worker'], log: Log, dataDir?: string): Kind {
  const { containerMode: mode, containerSlots: slots, containerCheckoutMs: checkoutMs } = worker
  const settings = {
    mode,
    provider: worker.containerProvider,
    program: worker.containerProgram,
    slots,
    checkoutMs,
    ephemeralRate: worker.containerEphemeralRate,
    scratchBytes: worker.containerScratchBytes,
    softKillMs: worker.commandSoftKillMs,
    hardKillMs: worker.commandHardKillMs,
    outputBytesMax: worker.outputBytesMax,
    spillDir: dataDir === undefined ? join(tmpdir(), 'muster') : join(dataDir, 'spill'),
  }
  return {
    kind: 'container',
    input: containerInput,
    profile: 'mixed',
    executor: containerExecutor(settings, log),
    retries: 'command',
    attempts: worker.attempts,
    concurrency: mode === 'host' ? Math.min(slots, availableParallelism()) : slots,
    paceMs,
    limitMs: ({ timeoutMs }) =>
      endMs +
      checkoutMs +
      (timeoutMs === undefined
        ? worker.commandHardKillMs
        : timeoutMs + Math.min(timeoutMs, killGraceMsMax)),
  }
}
