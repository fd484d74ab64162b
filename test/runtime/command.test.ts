import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { chmodSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execInput } from '../../actors/exec-input.ts'
import { rlimitPrefix } from '../../runtime/execute/limits.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { commandRunner, sh } from './command-runner.ts'

const hasPrlimit = Bun.which('prlimit') !== null
const { exec, start, stop } = commandRunner()

let dir: string

beforeAll(async () => {
  dir = realpathSync(temporaryDirectory())
  process.env['AWS_SECRET_ACCESS_KEY'] = 'hunter2'
  await start()
})

afterAll(async () => {
  await stop()
  delete process.env['AWS_SECRET_ACCESS_KEY']
})

describe('exec', () => {
  test('a command that exits with 0 is ok, with all that is known of it', async () => {
    const { outcome, output, error } = await exec({ argv: ['echo', 'hello'] })
    expect({ outcome, error }).toEqual({ outcome: 'ok', error: undefined })
    expect(output.durationMs).toBeGreaterThanOrEqual(0)
    expect({ ...output, durationMs: 0 }).toEqual({
      exitCode: 0,
      signal: null,
      stdout: 'hello\n',
      stderr: '',
      truncated: false,
      stdoutBytes: 6,
      stderrBytes: 0,
      durationMs: 0,
      limitsMode: 'none',
    })
  })

  test('another exit code is a failure of the run, told with the last line of stderr', async () => {
    const { outcome, output, error, stage } = await exec({
      argv: sh('echo out; echo one >&2; echo two >&2; exit 3'),
    })
    expect({ outcome, stage, error }).toEqual({
      outcome: 'failed',
      stage: 'run',
      error: { code: 'EXIT', message: 'exited with 3: two' },
    })
    expect([output.exitCode, output.stdout, output.stderr]).toEqual([3, 'out\n', 'one\ntwo\n'])
  })

  test('okExitCodes says which codes are ok, and 0 is then not one by itself', async () => {
    expect((await exec({ argv: sh('exit 3'), okExitCodes: [3] })).outcome).toBe('ok')
    expect((await exec({ argv: sh('exit 0'), okExitCodes: [3] })).outcome).toBe('failed')
  })

  test('death by a signal of somebody else is told as such', async () => {
    const { outcome, output, error, stage } = await exec({ argv: sh('kill -USR1 $$') })
    expect({ outcome, stage, error }).toEqual({
      outcome: 'failed',
      stage: 'run',
      error: { code: 'SIGNAL', message: 'killed by SIGUSR1' },
    })
    expect([output.exitCode, output.signal]).toEqual([null, 'SIGUSR1'])
  })

  test('metacharacters reach the program literally', async () => {
    const words = ['$HOME', '`id`', '$(id)', '; rm -rf x', '*', '| cat', '"', "'", '\\', 'a b\n']
    const { output } = await exec({ argv: ['printf', '%s|', ...words] })
    expect(output.stdout).toBe(`${words.join('|')}|`)
  })

  test('argv[0] is what was written, though the program is found in PATH', async () => {
    const { output } = await exec({ argv: ['sh', '-c', 'echo $0'] })
    expect(output.stdout).toBe('sh\n')
  })

  test('stdin is what was given, to its end; without any it is empty', async () => {
    const given = 'é'.repeat(300_000)
    expect((await exec({ argv: ['wc', '-c'], stdin: given })).output.stdout.trim()).toBe('600000')
    expect((await exec({ argv: ['cat'] })).output.stdout).toBe('')
    expect((await exec({ argv: ['true'], stdin: given })).outcome).toBe('ok')
  })

  test('cwd is where it runs and where a relative program is looked for', async () => {
    writeFileSync(join(dir, 'here'), '#!/bin/sh\npwd\n', { mode: 0o755 })
    expect((await exec({ argv: ['pwd'], cwd: dir })).output.stdout).toBe(`${dir}\n`)
    expect((await exec({ argv: ['./here'], cwd: dir })).output.stdout).toBe(`${dir}\n`)
  })

  test('it sees a short list of our environment, its own, and no secret of ours', async () => {
    const { output } = await exec({ argv: ['env'], env: { COLOUR: 'blue', MUSTER_SEQ: 'no' } })
    const names = output.stdout.split('\n').map((line) => line.split('=')[0] ?? '')
    expect(output.stdout).not.toContain('hunter2')
    expect(output.stdout).toContain('COLOUR=blue\n')
    expect(output.stdout).toContain('MUSTER_RUN=r-test\n')
    expect(output.stdout).toContain('MUSTER_SEQ=7\n')
    expect(output.stdout).toMatch(/^TRACEPARENT=00-[0-9a-f]{32}-[0-9a-f]{16}-01$/m)
    const allowed =
      'PATH HOME LANG LC_ALL TMPDIR USER SHELL COLOUR TRACEPARENT MUSTER_RUN MUSTER_SEQ ' +
      'PWD SHLVL _'
    expect(names.filter((name) => name !== '' && !allowed.split(' ').includes(name))).toEqual([])
  })
})

describe('exec output', () => {
  test('300 MB are read in bounded memory: the head is kept, the rest counted', async () => {
    const before = process.memoryUsage.rss()
    let highest = 0
    const sample = setInterval(() => {
      highest = Math.max(highest, process.memoryUsage.rss())
    })
    const { outcome, output } = await exec({ argv: ['head', '-c', '300000000', '/dev/zero'] })
    clearInterval(sample)
    expect(outcome).toBe('ok')
    expect([output.stdout.length, output.stdoutBytes]).toEqual([1_048_576, 300_000_000])
    expect(output.truncated).toBe(true)
    expect(highest - before).toBeLessThan(150_000_000)
  })

  test('outputBytes is per stream and to the byte; exactly as much is not truncated', async () => {
    const argv = sh('printf 12345; printf 123456 >&2')
    const both = (await exec({ argv, limits: { outputBytes: 5 } })).output
    expect([both.stdout, both.stderr, both.truncated]).toEqual(['12345', '12345', true])
    expect([both.stdoutBytes, both.stderrBytes]).toEqual([5, 6])
    expect((await exec({ argv, limits: { outputBytes: 6 } })).output.truncated).toBe(false)
    expect((await exec({ argv, limits: { outputBytes: 0 } })).output.stdout).toBe('')
    expect(both.limitsMode).toBe('none')
  })

  test('the last line of a truncated stderr is still told', async () => {
    const argv = sh('head -c 5000 /dev/zero | tr "\\0" x >&2; echo >&2; echo why >&2; exit 1')
    const { error } = await exec({ argv, limits: { outputBytes: 10 } })
    expect(error?.message).toBe('exited with 1: why')
  })

  test('invalid UTF-8 becomes U+FFFD; a character that was cut through is left out', async () => {
    const argv = ['printf', 'a\\377\\303\\251']
    expect((await exec({ argv })).output.stdout).toBe('a\uFFFDé')
    expect((await exec({ argv, limits: { outputBytes: 3 } })).output.stdout).toBe('a\uFFFD')
  })

  test('output that comes in many small pieces is put together in order', async () => {
    const argv = sh('i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done')
    const { output } = await exec({ argv })
    expect(output.stdout).toBe(Array.from({ length: 2000 }, (_, i) => `${i}\n`).join(''))
  })
})

describe('exec that cannot start', () => {
  const cases: [what: string, input: Record<string, unknown>, code: string, message: RegExp][] = [
    ['a program that is not there', { argv: ['no-such-x'] }, 'ENOENT', /"no-such-x": not found in/],
    ['a file that is not there', { argv: ['/no/such'] }, 'ENOENT', /"\/no\/such": no such file/],
    ['a file that may not be run', { argv: ['/etc/passwd'] }, 'EACCES', /"\/etc\/passwd": it is/],
    ['a directory as program', { argv: ['/etc'] }, 'EACCES', /"\/etc": it is there, but may not/],
    ['a cwd that is not there', { argv: ['true'], cwd: '/no/such' }, 'ENOENT', /"true" in "\/no/],
    ['a cwd that is a file', { argv: ['true'], cwd: '/etc/passwd' }, 'ENOTDIR', /not a directory/],
  ]
  for (const limits of hasPrlimit ? [undefined, { memoryBytes: 1e9 }] : [undefined]) {
    const how = limits ? 'with limits' : 'without limits'
    test.each(cases)(`%s fails at the start, ${how}`, async (_, input, code, message) => {
      const execution = await exec({ ...input, ...(limits && { limits }) })
      expect([execution.outcome, execution.stage]).toEqual(['failed', 'start'])
      expect(execution.error?.code).toBe(code)
      expect(execution.error?.message).toMatch(message)
      expect(execution.output).toBeUndefined()
    })

    test(`a script whose interpreter is not there fails at the start, ${how}`, async () => {
      const script = join(dir, 'orphan')
      writeFileSync(script, '#!/no/such/interpreter\n')
      chmodSync(script, 0o755)
      const { stage, error } = await exec({ argv: [script], ...(limits && { limits }) })
      expect([stage, error?.code]).toEqual(['start', 'ENOENT'])
      expect(error?.message).toContain(script)
    })
  }

  test('a program that appears is found, and one that is removed is no longer', async () => {
    const path = join(dir, 'coming')
    expect((await exec({ argv: [path] })).error?.code).toBe('ENOENT')
    writeFileSync(path, '#!/bin/sh\necho here\n', { mode: 0o755 })
    expect((await exec({ argv: [path] })).output.stdout).toBe('here\n')
    rmSync(path)
    expect((await exec({ argv: [path] })).error).toEqual({
      code: 'ENOENT',
      message: `cannot start ${JSON.stringify(path)}: no such file`,
    })
  })
})

describe('exec limits', () => {
  if (!hasPrlimit) console.log('skipped: limits that bind, because prlimit is not installed')

  test.skipIf(!hasPrlimit)('memoryBytes binds', async () => {
    const argv = ['tail', '/dev/zero']
    const { outcome, output, stage } = await exec({ argv, limits: { memoryBytes: 64 * 2 ** 20 } })
    expect([outcome, stage]).toEqual(['failed', 'run'])
    expect(output.limitsMode).toMatch(/^(rlimit|cgroup[12])$/)
    expect(output.durationMs).toBeLessThan(20_000)
    const small = await exec({ argv: ['echo', 'ok'], limits: { memoryBytes: 64 * 2 ** 20 } })
    expect([small.outcome, small.output.stdout]).toEqual(['ok', 'ok\n'])
  })

  test.skipIf(!hasPrlimit)('cpuSeconds binds, and core dumps are off', async () => {
    const { error } = await exec({
      argv: sh('while :; do :; done'),
      limits: { cpuSeconds: 1 },
    })
    expect(error).toEqual({
      code: 'SIGNAL',
      message: 'killed by SIGXCPU (limits.cpuSeconds is 1)',
    })
    const told = await exec({ argv: sh('ulimit -c; ulimit -t'), limits: { cpuSeconds: 5 } })
    expect([told.output.stdout, told.output.limitsMode]).toEqual(['0\n5\n', 'rlimit'])
  })

  test('limits that nothing here can hold are refused, never left out', () => {
    expect(() => rlimitPrefix({ memoryBytes: 1 }, { prlimit: null, isRoot: false })).toThrow(
      /"prlimit", which holds them, is not in PATH: install util-linux/,
    )
    expect(() => rlimitPrefix({ pids: 5 }, { prlimit: '/p', isRoot: true })).toThrow(/root/)
    expect(rlimitPrefix({ pids: 5 }, { prlimit: '/p', isRoot: false })).toContain('--nproc=5')
  })
})

describe('exec input', () => {
  const messageOf = (input: unknown) => execInput.safeParse(input).error?.issues[0]?.message
  const expected = 'expected a non-empty array of strings, got'

  test('argv that is no array of words is refused with what to write', () => {
    expect(messageOf({ argv: 'uname -r' })).toBe(
      `${expected} the string "uname -r"; there is no shell: write ["uname","-r"]`,
    )
    expect(messageOf({ argv: 'ls | wc' })).toBe(
      `${expected} the string "ls | wc"; there is no shell: write ["sh","-c","ls | wc"]`,
    )
    expect(messageOf({ argv: [] })).toBe(`${expected} an empty array`)
    expect(messageOf({ argv: '' })).toBe(`${expected} the string ""`)
    expect(messageOf({})).toBe(`${expected} nothing`)
    expect(messageOf({ argv: ['a', 3] })).toBe('expected a string, got the number 3')
    expect(messageOf({ argv: ['', 'a'] })).toContain('expected a non-empty string')
    expect(execInput.safeParse({ argv: ['grep', ''] }).success).toBe(true)
    expect(messageOf({ argv: ['a\0b'] })).toContain('without NUL')
  })

  test('what cannot be given to a process, and what is not known, is refused', () => {
    const argv = ['true']
    const shell = true
    for (const input of [
      { argv, cwd: 'a\0b' },
      { argv, env: { 'A=B': 'c' } },
      { argv, env: { A: 'b\0' } },
      { argv, okExitCodes: [] },
      { argv, okExitCodes: [256] },
      { argv, limits: { memoryBytes: 0 } },
      { argv, limits: { memory: 1 } },
      { argv, stallMs: 0 },
      { argv, shell },
    ]) {
      expect(execInput.safeParse(input).success).toBe(false)
    }
    expect(execInput.safeParse({ argv, env: {}, limits: {}, stdin: '' }).success).toBe(true)
  })

  test('an executor that is handed such an input says that trying again is useless', async () => {
    const { outcome, stage, error } = await exec({ argv: 'uname -r' })
    expect([outcome, stage, error?.code]).toEqual(['failed', 'terminal', 'INPUT'])
    expect(error?.message).toStartWith('input.argv: expected a non-empty array')
  })
})
