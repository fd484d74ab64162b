/**
 * The executor of kind `container`. What containers are made with is loaded with the first task, or
 * to take away what a dead process has left of its own.
 */
import { existsSync, readdirSync } from 'node:fs'
import { containerInput } from '../../actors/container-input.ts'
import { describeError, MusterError } from '../../actors/errors.ts'
import type { Execution, Executor, ExecutorHost, Log } from '../../actors/ports.ts'
import { type ContainerSettings, ownersDirectory } from './container/settings.ts'
import type { ContainerWork } from './container/work.ts'
import { refusedInput } from './refused-input.ts'

export function containerExecutor(settings: ContainerSettings, log: Log): Executor {
  const running = new Set<Promise<unknown>>()
  let stopping = new AbortController()
  let host: ExecutorHost | undefined
  let loading: Promise<ContainerWork> | undefined
  let sweeping: Promise<unknown> | undefined

  const load = async (): Promise<ContainerWork> => {
    if (host === undefined) {
      throw new MusterError('POOL_CLOSED', 'containers are not started: nobody supervises them')
    }
    const { containerWork } = await import('./container/work.ts')
    const work = containerWork(settings, { ...host, log })
    await host.supervise('containers', () => work.pool.spec())
    return work
  }

  const warn = (error: unknown) =>
    log.warn(describeError(error), 'something is left of containers that cannot be taken away')

  const sweep = async () => {
    const { sweepOwners } = await import('./container/owner.ts')
    await sweepOwners(log)
  }

  return {
    async start(given) {
      if (stopping.signal.aborted) stopping = new AbortController()
      host = given
      // Of a life that was not stopped, but taken out.
      const before = loading
      loading = undefined
      void before?.then((work) => work.close()).catch(warn)
      if (!hasOwners()) return
      // In the background: nobody has to wait for it, and it may take seconds.
      sweeping = sweep().catch(warn)
    },
    async stop() {
      stopping.abort()
      await Promise.all(running)
      await sweeping
      const work = await loading?.catch(() => undefined)
      loading = undefined
      await work?.close().catch(warn)
    },
    run(task, context) {
      const parsed = containerInput.safeParse(task.input)
      if (!parsed.success) return refusedInput(parsed.error.issues)
      loading ??= load()
      const execution = loading
        .then((work) => work.run(task, parsed.data, context, stopping.signal))
        .catch((error: unknown): Execution => {
          loading = undefined
          const { code, message } = describeError(error)
          log.error({ run: context.run, seq: context.seq, code, message }, 'a container broke')
          return { outcome: 'failed', error: { code, message }, stage: 'start' }
        })
      running.add(execution)
      void execution.then(() => running.delete(execution))
      return execution
    },
  }
}

function hasOwners(): boolean {
  const directory = ownersDirectory()
  return existsSync(directory) && readdirSync(directory).length > 0
}
