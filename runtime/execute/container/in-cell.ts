/** A program started in a cgroup of its own, if there are any: closed once, whoever does it. */
import type { SandboxProgram } from '../../../actors/ports-sandbox.ts'
import type { Cell } from '../cgroups.ts'
import { bunProcesses, type ProcessOptions } from '../processes.ts'

export function inCell(
  cell: Cell | undefined,
  options: Pick<ProcessOptions, 'log' | 'pipes' | 'spillDir'>,
): Pick<SandboxProgram, 'processes' | 'close'> {
  const processes = bunProcesses({ ...options, cell })
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
