/**
 * What a handler must not do to the process that others run in. It may call `process.exit`; and it
 * may leave errors behind, thrown by a timer it set, rejected by a promise it did not wait for,
 * often long after its task has ended. Either would end the process and with it tasks that have
 * nothing to do with it, one of which would be taken for what killed it.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { describeError, TerminalError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import { printToStderr } from './handler-prints.ts'

const kinds = new AsyncLocalStorage<string>()

/** Whatever this starts and leaves behind is known to be of this kind. */
export function inNameOf<Words extends unknown[], T>(
  kind: string,
  start: (...words: Words) => T,
  ...words: Words
): T {
  return kinds.run(kind, start, ...words)
}

/**
 * For a process that is a node's own. An error thrown by nobody's handler ends it as ever; of a
 * rejection it cannot be told whose it is, but no promise of Muster's own is left without somebody
 * who waits for it. `process.exit` ends a node: it is started again, and the task that ends it each
 * time is dead. Where nobody starts it again, it is refused.
 */
export function keepProcess(log: Log, owned: 'alone' | 'supervised'): void {
  printToStderr()
  if (owned === 'alone') refuseExit()
  process.on('uncaughtException', (error: unknown) => {
    const kind = kinds.getStore()
    if (kind === undefined) {
      process.stderr.write(`${Bun.inspect(error)}\n`)
      process.exit(1)
    }
    log.error({ kind, ...strayFields(error) }, 'a handler threw when nobody waited for it')
  })
  process.on('unhandledRejection', (error: unknown) => {
    log.error(strayFields(error), 'a handler left a promise behind, and it was rejected')
  })
}

/** Handlers throw what cannot even be put into words. */
function strayFields(error: unknown): Record<string, unknown> {
  try {
    return { ...describeError(error), ...(error instanceof Error ? { error } : {}) }
  } catch {
    return { code: 'Error', message: 'threw something that has no text' }
  }
}

function refuseExit(): void {
  const { exit } = process
  process.exit = (code) => {
    const kind = kinds.getStore()
    if (kind === undefined) exit.call(process, code)
    const message =
      `a handler of kind ${kind} called process.exit(${code ?? ''}), which would end all that ` +
      'runs here: throw an error to end the task'
    // The next attempt would do the same.
    throw new TerminalError(message, { code: 'PROCESS_EXIT' })
  }
}
