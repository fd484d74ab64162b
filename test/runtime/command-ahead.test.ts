/** Commands that are given to a thread before the ones that they come after have ended. */
import { afterAll, afterEach, describe, expect, spyOn, test } from 'bun:test'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { ExecuteContext, Executor } from '../../actors/ports.ts'
import { commandCrew } from '../../runtime/execute/crew/crew.ts'
import { execOnHosts } from '../../runtime/execute/ssh.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import {
  basesForThreads,
  contextOf,
  isWritten,
  sh,
  silent,
  workerThreads,
} from './command-runner.ts'
import { startNode } from './started-node.ts'

const hasThreads = (await basesForThreads()).length > 0

const dir = temporaryDirectory()
/** Every message to a thread is seen by its sender. */
const posted = spyOn(Worker.prototype, 'postMessage')
afterAll(() => posted.mockRestore())
const crews: Executor[] = []
afterEach(async () => {
  for (const crew of crews.splice(0)) await crew.stop()
})

/** One whose commands are run by threads. */
async function warmCrew({ idleMs = 60_000 } = {}) {
  const crew = commandCrew({ threads: 2, commandsBefore: 5, idleMs, log: silent })
  crews.push(crew)
  await crew.start()
  const probe = { input: { argv: ['cat', '/proc/self/cgroup'] } }
  await eventually(async () => {
    const { output } = await crew.run(probe, contextOf())
    expect((output as ExecOutput).stdout).toMatch(/\/t\d+\.\d+$/m)
  })
  const begin = (argv: string[], context = contextOf()) => ({
    context,
    running: Promise.resolve(crew.run({ input: { argv } }, context)),
  })
  const follow = (argv: string[], before: ExecuteContext, recall = never) =>
    crew.follow?.({ input: { argv } }, contextOf(), before, recall)
  return { crew, begin, follow }
}

const never = new AbortController().signal

/** Ends once the file is there. */
const until = (file: string) => sh('until [ -e "$1" ]; do sleep 0.001; done', file)

const stdoutOf = (execution: { output?: unknown } | undefined) =>
  (execution?.output as ExecOutput | undefined)?.stdout

describe.skipIf(!hasThreads)('a command that comes after another', () => {
  test('begins when that one has ended, and its own time is told', async () => {
    const { begin, follow } = await warmCrew()
    // One of them may take longer than anybody waits for it.
    await eventually(async () => {
      const { context, running } = begin(sh('sleep 0.003; date +%s%N'))
      const following = await follow(sh('date +%s%N; sleep 0.05'), context)
      const [first, second] = [stdoutOf(await running), stdoutOf(following?.execution)]
      expect(Number(second)).toBeGreaterThan(Number(first))
      expect(following?.durationMs).toBeWithin(50, 80)
    })
  })

  test('is given back when that takes its time, and never begins', async () => {
    const { begin, follow } = await warmCrew()
    const [gate, trace] = [join(dir, 'gate'), join(dir, 'trace')]
    const { context, running } = begin(until(gate))
    expect(await follow(sh('echo begun > "$1"', trace), context)).toBeUndefined()
    writeFileSync(gate, '')
    expect((await running).outcome).toBe('ok')
    expect(existsSync(trace)).toBe(false)
  })

  test('is given back at once when it is recalled, and goes on when it has begun', async () => {
    const { begin, follow } = await warmCrew()
    await eventually(async () => {
      const [gate, recall] = [join(dir, crypto.randomUUID()), new AbortController()]
      const { context, running } = begin(until(gate))
      const asked = performance.now()
      const following = follow(['true'], context, recall.signal)
      recall.abort()
      const followed = await following
      const ms = performance.now() - asked
      writeFileSync(gate, '')
      await running
      expect(followed).toBeUndefined()
      // By itself it would have come after 10 ms.
      expect(ms).toBeLessThan(8)
    })
    await eventually(async () => {
      const [trace, recall] = [join(dir, crypto.randomUUID()), new AbortController()]
      const { context } = begin(['true'])
      const following = follow(sh('echo $$ > "$1"; sleep 0.1', trace), context, recall.signal)
      await eventually(() => expect(isWritten(trace)).toBe(true), { timeoutMs: 1000 })
      recall.abort()
      expect((await following)?.execution.outcome).toBe('ok')
    })
  })

  test('is given back when its executor stops', async () => {
    const { crew, begin, follow } = await warmCrew()
    const { context, running } = begin(['sleep', '60'])
    const following = follow(['true'], context)
    await crew.stop()
    expect((await running).error?.code).toBe('ABORTED')
    expect(await following).toBeUndefined()
  })

  test('fails like all others when their thread dies, to be tried again', async () => {
    const { begin, follow } = await warmCrew()
    const file = join(dir, 'dying')
    const { context, running } = begin(sh('echo $$ > "$1"; sleep 60', file))
    await eventually(() => expect(isWritten(file)).toBe(true))
    const thread = posted.mock.contexts.at(-1) as Worker
    const following = follow(['true'], context)
    thread.emit('exit', 1)
    expect((await running).error?.code).toBe('THREAD_LOST')
    const followed = await following
    expect(followed?.execution.error?.code).toBe('THREAD_LOST')
    expect(followed?.execution.stage).toBe('start')
    expect(follow(['true'], context)).toBeUndefined()
    await thread.terminate()
  })

  test('is not taken when that has ended, or was run by no thread', async () => {
    const { crew, begin, follow } = await warmCrew()
    const { context, running } = begin(['true'])
    await running
    expect(follow(['true'], context)).toBeUndefined()
    await crew.stop()
    await crew.start()
    const { context: unthreaded, running: other } = begin(['sleep', '0.05'])
    expect(follow(['true'], unthreaded)).toBeUndefined()
    await other
  })

  test('is not taken when it is to run on another host', async () => {
    const { crew, begin } = await warmCrew()
    const elsewhere: Executor = {
      async start() {},
      async stop() {},
      run: () => ({ outcome: 'ok' }),
    }
    const both = execOnHosts(crew, elsewhere)
    const gate = join(dir, 'gate-host')
    const { context, running } = begin(until(gate))
    const task = { input: { argv: ['true'] } }
    const there = { ...contextOf(), host: 'far' }
    expect(both.follow?.(task, there, context, never)).toBeUndefined()
    expect(await both.follow?.(task, contextOf(), context, never)).toBeUndefined()
    expect(both.follow?.(task, contextOf(), context, never)).toBeInstanceOf(Promise)
    writeFileSync(gate, '')
    await running
  })
})

describe.skipIf(!hasThreads)('threads that had nothing new for a while', () => {
  test('are ended once what they run has ended by itself', async () => {
    const { begin } = await warmCrew({ idleMs: 100 })
    const [gate, pid] = [join(dir, 'gate-3'), join(dir, 'pid')]
    const argv = sh('echo $$ > "$2"; until [ -e "$1" ]; do sleep 0.01; done; echo end', gate, pid)
    const { running } = begin(argv)
    await eventually(() => expect(isWritten(pid)).toBe(true))
    // The other one, which runs nothing.
    await eventually(() => expect(workerThreads()).toBe(1))
    writeFileSync(gate, '')
    expect(stdoutOf(await running)).toBe('end\n')
    await eventually(() => expect(workerThreads()).toBe(0))
  })
})

describe.skipIf(!hasThreads)('a node', () => {
  test('never runs more commands at a time than it may, each once', async () => {
    const file = join(dir, 'moments')
    // A line when it begins and one when it ends: short ones are written whole.
    const input = { argv: sh('echo + >> "$1"; echo - >> "$1"', file) }
    const lines = Array.from({ length: 1500 }, () => JSON.stringify({ kind: 'exec', input }))
    const started = await startNode({ worker: { commandConcurrency: 2 } })
    try {
      const { counts } = await started.run(lines.join('\n'))
      expect(counts).toMatchObject({ ok: 1500 })
    } finally {
      await started.node.stop()
    }
    let [now, most, begun] = [0, 0, 0]
    for (const mark of readFileSync(file, 'utf8').trim().split('\n')) {
      now += mark === '+' ? 1 : -1
      begun += mark === '+' ? 1 : 0
      most = Math.max(most, now)
    }
    expect({ begun, most, now }).toEqual({ begun: 1500, most: 2, now: 0 })
  }, 60_000)
})
