/** A program started in a cgroup of its own, if there are any: closed once, whoever does it. */
import type { Log } from '../../../actors/ports.ts'
import type { SandboxProgram } from '../../../actors/ports-sandbox.ts'
import type { Cell } from '../cgroups.ts'
import type { PipeSource } from '../pipes.ts'
import { bunProcesses } from '../processes.ts'

export function inCell(
  cell: Cell | undefined,
  pipes: PipeSource | undefined,
  log: Log,
): Pick<SandboxProgram, 'processes' | 'close'> {
  const processes = bunProcesses({ log, cell, pipes })
  let isStarted = false
  return {
    processes: {
      spawn(command, listener) {
        const running = processes.spawn(command, listener)
        // With its end its cell is closed.
        isStarted = true
        return running
      },
    },
    close() {
      if (!isStarted) cell?.close(false)
      return { isOutOfMemory: isStarted && cell?.ranOutOfMemory === true }
    },
  }
}
