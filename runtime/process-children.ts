/** The worker processes of a node, as children of a supervisor of their own. */
import type { DeadLetters } from '../actors/dead-letters.ts'
import type { LogLevel } from '../actors/ports.ts'
import { type ChildSpec, type NamedChild, supervisor } from '../actors/supervisor.ts'
import { workerProcess } from '../actors/worker-process.ts'
import type { SupervisorPolicy } from '../machines/supervision.ts'
import type { AssemblyOptions, Shared } from './assembly.ts'
import { memberIdOf } from './fleet.ts'
import { bunWorkerProcesses } from './worker-processes.ts'

/** A killed process is gone at once, or the kernel holds it. */
const reapMs = 2000
/** One that was started again is well when it takes work by then. */
const registerMs = 30_000

export function processChildren(
  options: AssemblyOptions,
  shared: Shared,
  deadLetters: DeadLetters,
): ChildSpec {
  const { id, config, dataDir, tasksFiles, graceMs, hurry, telemetry, throttle, log } = options
  const inlet = () => telemetry.inlet()
  const logged = (level: LogLevel, text: string) => {
    telemetry.alarms.count(level)
    log.written?.add(level, text)
  }
  const own = { node: id, member: memberIdOf(options), config, dataDir, tasksFiles }
  const processes = bunWorkerProcesses({ ...own, inlet, logged, throttle, log })
  const times = { silenceMs: config.worker.processSilenceMs, reapMs, graceMs, hurry }
  const children = Array.from({ length: config.worker.processes }, (_, index): NamedChild => {
    const name = `process-${index + 1}`
    const spec = () => workerProcess({ ...shared, ...times, name, processes, deadLetters })
    return { id: name, spec, startTimeoutMs: registerMs }
  })
  // Dynamic, for those stop together: one after the other, the last would get no time at all.
  const together: SupervisorPolicy = { ...shared.policy, strategy: 'dynamic' }
  return supervisor({ ...shared, id: 'processes', policy: together, children })
}
