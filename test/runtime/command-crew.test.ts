/** Commands that are run by threads: when there are any, and that nothing is lost at the border. */
import { afterAll, afterEach, describe, expect, spyOn, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Executor, Log } from '../../actors/ports.ts'
import type { Task } from '../../actors/task.ts'
import { commandCrew } from '../../runtime/execute/crew/crew.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { isAlive } from '../kit/processes.ts'
import {
  basesForThreads,
  contextOf,
  isWritten,
  pidIn,
  sh,
  silent,
  workerThreads,
} from './command-runner.ts'
import { startNode } from './started-node.ts'

const bases = await basesForThreads()
const hasThreads = bases.length > 0

const dir = temporaryDirectory()
/** Every message to a thread is seen by its sender. */
const posted = spyOn(Worker.prototype, 'postMessage')
const crews: Executor[] = []

afterEach(async () => {
  for (const crew of crews.splice(0)) await crew.stop()
})
afterAll(() => posted.mockRestore())

async function crewOf({ log = silent, commandsBefore = 5, idleMs = 60_000, threads = 2 } = {}) {
  const crew = commandCrew({ threads, commandsBefore, idleMs, log })
  crews.push(crew)
  await crew.start()
  const exec = async (input: Task['input'], task: Partial<Task> = {}, signal?: AbortSignal) => {
    const execution = await crew.run({ ...task, input }, contextOf(signal))
    return { ...execution, output: execution.output as ExecOutput }
  }
  return { crew, exec }
}
type Exec = Awaited<ReturnType<typeof crewOf>>['exec']

/** The names of cgroups tell who runs what is in them; '' is the main thread. */
const whereAmI = { argv: ['cat', '/proc/self/cgroup'] }
function threadIn(text: string): string {
  return /\/(t\d+)\.\d+$/m.exec(text)?.[1] ?? ''
}

const threadNow = async (exec: Exec) => threadIn((await exec(whereAmI)).output.stdout)

/** Until threads have taken over. */
async function warmUp(exec: Exec): Promise<void> {
  await eventually(async () => {
    const now = await Promise.all(Array.from({ length: 6 }, () => threadNow(exec)))
    expect(new Set(now).size).toBe(2)
    expect(now).not.toContain('')
  })
}

function children(): string[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  )
}

describe.skipIf(!hasThreads)('commands in threads', () => {
  test('a few have none, many have, and when nothing comes any more they are gone', async () => {
    const { exec } = await crewOf({ idleMs: 200 })
    for (let one = 0; one < 4; one += 1) expect(await threadNow(exec)).toBe('')
    expect(workerThreads()).toBe(0)
    await warmUp(exec)
    expect(workerThreads()).toBe(2)
    await eventually(() => {
      expect(workerThreads()).toBe(0)
      for (const base of bases) {
        expect(readdirSync(base).filter((name) => /^t\d+\./.test(name))).toEqual([])
      }
    })
    expect(await threadNow(exec)).toBe('')
  })

  test('their results are those of the main thread', async () => {
    const { exec } = await crewOf()
    const cases: [Task['input'], Partial<Task>][] = [
      [{ argv: sh('echo "é$1"; echo why >&2; exit 3', 'x') }, {}],
      [{ argv: ['cat'], stdin: 'a\nb\u0000c\ud800' }, {}],
      [{ argv: ['no-such-program'] }, {}],
      [{ argv: 'no array' }, {}],
      [{ argv: sh('kill -9 $$') }, {}],
      [{ argv: sh('echo begun; sleep 60') }, { timeoutMs: 300 }],
      [{ argv: sh('echo begun; sleep 60'), stallMs: 200 }, {}],
      [{ argv: sh('printf 12345'), limits: { outputBytes: 3 } }, {}],
      [{ argv: sh('tr "\\0" x < /dev/zero | head -c 3000000') }, {}],
      [{ argv: ['true'] }, {}],
      [{ argv: sh('sleep 0.1; echo late; echo more >&2') }, {}],
      [{ argv: sh('(sleep 0.1; echo later) & echo now') }, {}],
    ]
    const all = () => Promise.all(cases.map(([input, task]) => exec(input, task)))
    const told = (results: Awaited<ReturnType<typeof all>>) =>
      results.map(({ trace: _, output, ...rest }) => ({
        ...rest,
        ...(output === undefined ? {} : { output: { ...output, durationMs: 0 } }),
      }))
    const one = await crewOf({ threads: 0 })
    const expected = await Promise.all(cases.map(([input, task]) => one.exec(input, task)))
    await warmUp(exec)
    expect(told(await all())).toEqual(told(expected))
  })

  test('one that is cancelled is killed with its tree', async () => {
    const { exec } = await crewOf()
    await warmUp(exec)
    const pids = join(dir, 'cancelled')
    const cancel = new AbortController()
    const script = 'cat /proc/self/cgroup; sleep 60 & echo $! > "$1"; wait'
    const running = exec({ argv: sh(script, pids) }, {}, cancel.signal)
    await eventually(() => expect(isWritten(pids)).toBe(true))
    cancel.abort()
    const { error, output } = await running
    expect(threadIn(output.stdout)).not.toBe('')
    expect(error).toEqual({ code: 'ABORTED', message: 'cancelled; ended by SIGKILL' })
    await eventually(() => expect(isAlive(pidIn(pids))).toBe(false))
  })

  test('when a thread dies, what it ran is killed, fails, and is to be tried again', async () => {
    const warnings: Record<string, unknown>[] = []
    const log: Log = { ...silent, warn: (fields) => warnings.push(fields) }
    const { exec } = await crewOf({ log })
    await warmUp(exec)
    const pids = join(dir, 'orphan')
    const before = posted.mock.contexts.length
    const running = exec({ argv: sh('setsid sleep 60 & echo $! > "$1"; wait', pids) })
    await eventually(() => expect(isWritten(pids)).toBe(true))
    const thread = posted.mock.contexts[before] as Worker
    void thread.terminate()
    const { outcome, stage, error } = await running
    expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'THREAD_LOST'])
    await eventually(() => expect(isAlive(pidIn(pids))).toBe(false))
    expect(warnings.map(({ commands }) => commands)).toEqual([1])
    // The other goes on, and after a while there are two again.
    expect((await exec({ argv: ['echo', 'on'] })).output.stdout).toBe('on\n')
    await warmUp(exec)
  })

  test('when a thread dies, what must not run twice is not tried again', async () => {
    const { exec } = await crewOf()
    await warmUp(exec)
    const file = join(dir, 'once')
    const before = posted.mock.contexts.length
    const input = { argv: sh('echo $$ > "$1"; sleep 60', file) }
    const running = exec(input, { delivery: 'at-most-once' })
    await eventually(() => expect(isWritten(file)).toBe(true))
    void (posted.mock.contexts[before] as Worker).terminate()
    const { stage, error } = await running
    expect([stage, error?.code]).toEqual(['terminal', 'THREAD_LOST'])
  })

  test('what is said to a thread that has gone in the same turn is not sent to it', async () => {
    const { exec } = await crewOf()
    await warmUp(exec)
    const threads = [...new Set((posted.mock.contexts as Worker[]).toReversed())].slice(0, 2)
    const running = [1, 2, 3, 4].map(() => exec({ argv: ['true'] }))
    for (const thread of threads) thread.emit('exit', 1)
    const sent = posted.mock.calls.length
    const codes = (await Promise.all(running)).map(({ error }) => error?.code)
    expect(codes).toEqual(['THREAD_LOST', 'THREAD_LOST', 'THREAD_LOST', 'THREAD_LOST'])
    await new Promise((resolve) => setImmediate(resolve))
    expect(posted.mock.calls).toHaveLength(sent)
    await Promise.all(threads.map((thread) => thread.terminate()))
  })

  test('what they run ends when the process is killed', async () => {
    const paths = [1, 2].map((n) => join(dir, `killed-${n}`))
    const program = join(import.meta.dir, 'crew-program.ts')
    const child = Bun.spawn([process.execPath, '--conditions=development', program, ...paths], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    try {
      await eventually(() => expect(paths.every(isWritten)).toBe(true))
      expect(paths.map(pidIn).every(isAlive)).toBe(true)
    } finally {
      child.kill('SIGKILL')
    }
    await eventually(() => expect(paths.map(pidIn).filter(isAlive)).toEqual([]))
  })

  test('stop kills what they run and ends them; start begins anew', async () => {
    const { crew, exec } = await crewOf()
    await warmUp(exec)
    const paths = [1, 2, 3].map((n) => join(dir, `stop-${n}`))
    const runs = paths.map((path) => exec({ argv: sh('echo $$ > "$1"; sleep 60', path) }))
    await eventually(() => expect(paths.every(isWritten)).toBe(true))
    await crew.stop()
    expect((await Promise.all(runs)).map(({ error }) => error?.code)).toEqual([
      'ABORTED',
      'ABORTED',
      'ABORTED',
    ])
    expect(paths.map(pidIn).filter(isAlive)).toEqual([])
    expect(bases.filter((base) => existsSync(base))).toEqual([])
    expect((await exec({ argv: ['true'] })).error?.code).toBe('ABORTED')
    await crew.stop()
    await crew.start()
    expect(await threadNow(exec)).toBe('')
    await warmUp(exec)
  })

  test('400 of them leave no child and no descriptor behind', async () => {
    const { exec } = await crewOf()
    await warmUp(exec)
    const inputs = [
      { argv: ['true'] },
      { argv: sh('sleep 60 & exit 1') },
      { argv: ['no-such-program'] },
      { argv: ['cat'], stdin: 'text' },
    ]
    let next = 0
    const runTo = (count: number) => {
      const lane = async () => {
        while (next < count) await exec(inputs[next++ % inputs.length])
      }
      return Promise.all([lane(), lane(), lane(), lane()])
    }
    await runTo(100)
    const descriptors = () => readdirSync('/proc/self/fd').length
    const before = { descriptors: descriptors(), children: children().length }
    await runTo(400)
    await eventually(() => {
      expect(children().length).toBeLessThanOrEqual(before.children)
      // Pipes are made ahead; one left by each command of any kind would be 75.
      expect(descriptors()).toBeLessThanOrEqual(before.descriptors + 40)
    })
  })

  test('a node runs many in threads, each once, and with none when it is told so', async () => {
    const lines = (count: number) =>
      Array.from({ length: count }, () => JSON.stringify({ kind: 'exec', input: whereAmI })).join(
        '\n',
      )
    for (const commandThreads of [4, 0]) {
      const started = await startNode({ worker: { commandConcurrency: 4, commandThreads } })
      try {
        const { id, counts } = await started.run(lines(1000))
        expect(counts).toMatchObject({ ok: 1000 })
        const response = await started.ask(`/v1/runs/${id}/results?limit=1000`)
        const { items } = (await response.json()) as { items: { output: ExecOutput }[] }
        expect(items.length).toBe(1000)
        const threads = new Set(items.map(({ output }) => threadIn(output.stdout)))
        if (commandThreads === 0) expect([...threads]).toEqual([''])
        else expect(threads.size).toBeGreaterThan(1)
      } finally {
        await started.node.stop()
      }
    }
  }, 60_000)
})
