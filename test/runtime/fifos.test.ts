/** Pipes that serve one command after the other, and nothing of the one before in the next. */
import { afterEach, describe, expect, test } from 'bun:test'
import { closeSync, fstatSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Executor, Log } from '../../actors/ports.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { Fifos } from '../../runtime/execute/fifos.ts'
import { openSurroundings } from '../../runtime/execute/surroundings.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { contextOf, sh, silent } from './command-runner.ts'

const isLinux = process.platform === 'linux'
if (!isLinux) console.log('skipped: pipes that are used again, which need /proc')

const directory = temporaryDirectory()
const executors: Executor[] = []
afterEach(async () => {
  for (const executor of executors.splice(0)) await executor.stop()
  await eventually(() => expect(ends()).toEqual([]))
})

async function runner({ log = silent, fifos = new Fifos({ directory, log }) } = {}) {
  const open = async () => {
    const around = await openSurroundings('auto', directory, log)
    return {
      ...around,
      pipes: fifos,
      async close() {
        fifos.close()
        await around.close()
      },
    }
  }
  const executor = commandExecutor({ log, open })
  executors.push(executor)
  await executor.start()
  const exec = async (input: Record<string, unknown>) => {
    const execution = await executor.run({ input }, contextOf())
    return { ...execution, output: execution.output as ExecOutput }
  }
  return { exec, stop: () => executor.stop() }
}

/** Our ends of those that this file has made. */
function ends(): string[] {
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(join('/proc/self/fd', descriptor)).startsWith(join(directory, 'pipes-'))
    } catch {
      // That of the directory that is just read.
      return false
    }
  })
}

/** Which pipes it speaks through. */
const which = sh('stat -L -c %i /dev/stdout /dev/stderr')
const pair = (text: string) => text.split('\n').slice(0, 2).toSorted()

describe.skipIf(!isLinux)('pipes that are used again', () => {
  test('serve one command after the other', async () => {
    const { exec } = await runner()
    const first = pair((await exec({ argv: which })).output.stdout)
    for (let one = 0; one < 20; one += 1) {
      expect(pair((await exec({ argv: which })).output.stdout)).toEqual(first)
    }
    // While one is listened to there is one more of it.
    await eventually(() => expect(ends()).toHaveLength(8))
    expect(readdirSync(directory)).toEqual([])
  })

  test('carry everything, said at once or over time, little or more than they hold', async () => {
    const { exec } = await runner()
    const long = 'x'.repeat(70_000)
    const said: [argv: string[], stdout: string, stderr: string][] = [
      [['true'], '', ''],
      [['echo', 'a'], 'a\n', ''],
      [sh('echo a; sleep 0.05; echo b >&2; sleep 0.05; echo c'), 'a\nc\n', 'b\n'],
      [sh('head -c 70000 /dev/zero | tr "\\0" x'), long, ''],
      [sh('head -c 70000 /dev/zero | tr "\\0" x >&2; echo done'), 'done\n', long],
      [sh('echo a > /dev/stdout; echo b > /dev/stdout; echo c > /dev/stderr'), 'a\nb\n', 'c\n'],
      [sh('exec >&-; sleep 0.05; echo b >&2'), '', 'b\n'],
    ]
    for (let round = 0; round < 3; round += 1) {
      const results = await Promise.all(said.map(([argv]) => exec({ argv })))
      const heard = results.map(({ output }) => [output.stdout, output.stderr])
      expect(heard).toEqual(said.map(([, stdout, stderr]) => [stdout, stderr]))
    }
  })

  test('that somebody still holds when their command is over are not used again', async () => {
    const { exec } = await runner()
    // Who has left the group goes on, and says more than once that he is there.
    const leaver = 'setsid sh -c "trap : PIPE; for i in 1 2 3 4 5 6; do sleep 0.1; echo late; done"'
    const argv = sh(`${leaver} & sleep 0.02; stat -L -c %i /dev/stdout /dev/stderr`)
    const held = pair((await exec({ argv })).output.stdout)
    const until = performance.now() + 800
    while (performance.now() < until) {
      const next = (await exec({ argv: which })).output
      expect(next.stdout).toMatch(/^\d+\n\d+\n$/)
      expect(next.stderr).toBe('')
      expect(pair(next.stdout).filter((one) => held.includes(one))).toEqual([])
    }
  })

  test('that somebody else still holds are heard to their ends', async () => {
    const fifos = new Fifos({ directory, log: silent })
    const pipes = fifos.open()
    const nodes = (of: typeof pipes) => of.ends.map((end) => fstatSync(Number(end)).ino)
    const held = nodes(pipes)
    const holder = Bun.spawn(sh('read go; echo late; echo too >&2'), {
      stdin: 'pipe',
      stdout: pipes.ends[0],
      stderr: pipes.ends[1],
    })
    const heard: string[] = []
    let hasEnded = false
    pipes.read(holder, {
      output: (stream, bytes) => heard.push(`${stream} ${Buffer.from(bytes).toString()}`),
      outputEnded: () => {
        hasEnded = true
      },
      broke: (error) => heard.push(String(error)),
    })
    pipes.exited()
    expect([heard, hasEnded]).toEqual([[], false])
    const others = [fifos.open(), fifos.open(), fifos.open()]
    expect(others.flatMap(nodes).filter((node) => held.includes(node))).toEqual([])
    for (const other of others) other.drop()
    void holder.stdin.write('go\n')
    void holder.stdin.end()
    await eventually(() => expect(hasEnded).toBe(true))
    expect(heard.toSorted()).toEqual(['stderr too\n', 'stdout late\n'])
    fifos.close()
  })

  test.each([
    ['in its group', 'yes & exit 0'],
    ['out of its group', 'setsid yes & exit 0'],
  ])('that somebody fills for ever, %s, hold nobody up', async (_, script) => {
    const { exec } = await runner()
    const [flood, other] = await Promise.all([
      exec({ argv: sh(script), limits: { outputBytes: 100 } }),
      exec({ argv: ['echo', 'a'] }),
    ])
    expect([flood.outcome, other.output.stdout]).toEqual(['ok', 'a\n'])
  })

  test('that never run dry are drained so far, and no further', () => {
    const zeros = openSync('/dev/zero', 'r')
    let heard = 0
    const fifos = new Fifos({ directory, log: silent })
    const hasEnded = fifos.drain(zeros, ({ length }) => {
      heard += length
    })
    closeSync(zeros)
    expect([hasEnded, heard]).toEqual([false, 2 * 65_536])
  })

  test('that were let go of are closed, and tell nothing any more', async () => {
    const fifos = new Fifos({ directory, log: silent })
    const pipes = fifos.open()
    const holder = Bun.spawn(['sleep', '60'], { stdout: pipes.ends[0], stderr: pipes.ends[1] })
    let told = 0
    pipes.read(holder, { output() {}, outputEnded: () => (told += 1), broke() {} })
    pipes.release()
    expect(told).toBe(1)
    pipes.exited()
    expect(told).toBe(1)
    expect(ends()).toHaveLength(6)
    holder.kill('SIGKILL')
    fifos.close()
  })

  test('that can be written into no more are closed, and the next are others', () => {
    const fifos = new Fifos({ directory, log: silent })
    const bad = [openSync(directory, 'r'), openSync(directory, 'r')]
    for (const end of bad) fifos.give(end)
    expect(fifos.open().ends).toEqual(['pipe', 'pipe'])
    for (const end of bad) expect(() => fstatSync(end)).toThrow('EBADF')
    const next = fifos.open()
    expect(next.ends).not.toEqual(['pipe', 'pipe'])
    next.drop()
    fifos.close()
  })

  test('of commands that did not start are used again', async () => {
    const { exec } = await runner()
    await exec({ argv: which })
    await eventually(() => expect(ends()).toHaveLength(8))
    for (let one = 0; one < 20; one += 1) {
      expect((await exec({ argv: ['no-such-program'] })).error?.code).toBe('ENOENT')
    }
    await eventually(() => expect(ends()).toHaveLength(8))
  })

  test('are opened ahead once, for the next command that asks', async () => {
    const fifos = new Fifos({ directory, log: silent })
    fifos.prepare()
    fifos.prepare()
    // Eight where they are read, and two where the next command writes.
    expect(ends()).toHaveLength(10)
    const { exec } = await runner({ fifos })
    expect((await exec({ argv: ['echo', 'ahead'] })).output.stdout).toBe('ahead\n')
    await eventually(() => expect(ends()).toHaveLength(8))
    fifos.prepare()
    expect(ends()).toHaveLength(10)
    fifos.close()
    fifos.prepare()
    expect(ends()).toEqual([])
  })

  test('are closed when their executor stops', async () => {
    const { exec, stop } = await runner()
    await exec({ argv: which })
    expect(ends().length).toBeGreaterThanOrEqual(8)
    await stop()
    await eventually(() => expect(ends()).toEqual([]))
  })

  test('cannot be made here: each command has its own, and that is said once', async () => {
    const warnings: string[] = []
    const log: Log = { ...silent, warn: (_, message) => warnings.push(message) }
    const { exec } = await runner({ fifos: new Fifos({ directory: '/proc/none', log }) })
    expect((await exec({ argv: ['echo', 'a'] })).output.stdout).toBe('a\n')
    expect((await exec({ argv: ['echo', 'b'] })).output.stdout).toBe('b\n')
    expect(warnings).toEqual(['cannot make pipes ahead of commands; each gets its own'])
  })
})
