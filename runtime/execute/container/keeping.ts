/** Starts the keeper of the sandboxes' file systems, and asks it for what is wanted. */
import { fileURLToPath } from 'node:url'
import { describeError, MusterError } from '../../../actors/errors.ts'
import { ownerVariable } from './owner.ts'
import { ownEnvironment } from './tool.ts'

export type KeeperRequest =
  | { op: 'make'; slot: string; root: string; bytes: number }
  | { op: 'reset' | 'drop'; slot: string }

export interface Keeper {
  readonly pid: number
  readonly isRootless: boolean
  readonly isGone: boolean
  /** @throws MusterError with the code of the operating system, or BASE_MISSING, or KEEPER_GONE */
  ask(request: KeeperRequest): Promise<void>
  /** Resolves when it has ended. */
  stop(): Promise<void>
}

interface Answer {
  id: number
  error?: { code: string; message: string }
}

const program = fileURLToPath(new URL('./keeper.ts', import.meta.url))
/** What is asked of it takes less than a millisecond; its start, as long as that of Bun. */
const answerMs = 20_000

/**
 * @param home a directory that is empty and stays so, for everybody but the keeper
 * @param gone called when it has ended, or did not even start
 * @throws MusterError NO_KEEPER when there cannot be one here
 */
export async function startKeeper(home: string, owner: string, gone: () => void): Promise<Keeper> {
  const isRootless = process.getuid?.() !== 0
  const own = isRootless ? ['--user', '--map-root-user'] : []
  const child = Bun.spawn(
    [
      'unshare',
      '--mount',
      ...own,
      '--',
      process.execPath,
      '--no-install',
      program,
      home,
      ...(isRootless ? ['--rootless'] : []),
    ],
    {
      env: { ...ownEnvironment(), [ownerVariable]: owner },
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    },
  )
  const asked = new Map<number, PromiseWithResolvers<void>>()
  let ids = 0
  let isGone = false
  const complaint = new Response(child.stderr).text()

  const expect = (id: number): Promise<void> => {
    const answer = Promise.withResolvers<void>()
    asked.set(id, answer)
    // It holds nothing that others need, so one that does not answer is ended.
    const timer = setTimeout(() => child.kill('SIGKILL'), answerMs)
    void answer.promise.catch(() => undefined).then(() => clearTimeout(timer))
    return answer.promise
  }
  const take = (line: string) => {
    const { id, error } = JSON.parse(line) as Answer
    const answer = asked.get(id)
    asked.delete(id)
    if (error === undefined) answer?.resolve()
    else answer?.reject(new MusterError(error.code, error.message))
  }
  const ended = (async () => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const bytes of child.stdout) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) take(line)
    }
    await child.exited
  })()
  const started = expect(0)
  void ended
    .catch(() => child.kill('SIGKILL'))
    .then(async () => {
      isGone = true
      gone()
      const said = (await complaint).trim().split('\n').at(-1) ?? ''
      for (const answer of asked.values()) {
        answer.reject(new MusterError('KEEPER_GONE', `the keeper of file systems ended: ${said}`))
      }
      asked.clear()
    })
  try {
    await started
  } catch (error) {
    child.kill('SIGKILL')
    throw new MusterError('NO_KEEPER', describeError(error).message, { cause: error })
  }
  return {
    pid: child.pid,
    isRootless,
    get isGone() {
      return isGone
    },
    async ask(request) {
      if (isGone) throw new MusterError('KEEPER_GONE', 'the keeper of file systems has ended')
      ids += 1
      const answer = expect(ids)
      void child.stdin.write(`${JSON.stringify({ id: ids, ...request })}\n`)
      void child.stdin.flush()
      await answer
    },
    async stop() {
      child.kill('SIGKILL')
      await child.exited
    },
  }
}
