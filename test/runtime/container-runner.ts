/** An executor of kind `container` as tests use it, with a supervisor that starts its actors. */
import { type AnyActorRef, createActor } from 'xstate'
import { isLive } from '../../actors/dead-letters.ts'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Execution, Executor, ExecutorHost, Log } from '../../actors/ports.ts'
import type { Task } from '../../actors/task.ts'
import { watch } from '../../actors/watch.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { ContainerSettings } from '../../runtime/execute/container/settings.ts'
import { containerExecutor } from '../../runtime/execute/container.ts'
import { contextOf } from './command-runner.ts'

export type ContainerExecution = Execution & { output: ExecOutput }

const containerSettings: ContainerSettings = {
  mode: 'pooled',
  provider: 'auto',
  program: undefined,
  slots: 2,
  checkoutMs: 20_000,
  ephemeralRate: 1000,
  scratchBytes: 16 * 1024 * 1024,
  softKillMs: 20_000,
  hardKillMs: 30_000,
  outputBytesMax: 65_536,
  spillDir: '/tmp/muster',
}

export function containerRunner(settings: Partial<ContainerSettings> = {}) {
  const warnings: string[] = []
  const note = (_: unknown, message: string) => void warnings.push(message)
  const log: Log = { debug() {}, info() {}, warn: note, error: note }
  const executor = containerExecutor({ ...containerSettings, ...settings }, log)
  let actor: AnyActorRef | undefined
  const host: ExecutorHost = {
    clock: systemClock,
    tell: (to, event) => to.send(event),
    supervise: (_, spec) => {
      const { logic, input } = spec()
      const started = createActor(logic, { input })
      actor = started
      started.subscribe({ error: () => undefined })
      started.start()
      return Promise.resolve()
    },
  }
  const start = () => executor.start(host)
  const stop = async () => {
    const ended = Promise.withResolvers<void>()
    if (actor !== undefined && isLive(actor)) {
      watch(actor, () => ended.resolve())
      actor.send({ type: 'stop' })
    } else ended.resolve()
    await ended.promise
    await executor.stop()
  }
  const supervised: Executor = {
    start,
    stop,
    run: (task, context) => executor.run(task, context),
  }
  return {
    /** What it said that is worth a look. */
    warnings,
    start,
    stop,
    /** The same as any executor is, with the supervisor that it needs. */
    executor: supervised,
    async run(
      input: Record<string, unknown>,
      task: Partial<Task> = {},
      signal?: AbortSignal,
    ): Promise<ContainerExecution> {
      const execution = await executor.run({ ...task, input }, contextOf(signal))
      return { ...execution, output: execution.output as ExecOutput }
    },
  }
}
