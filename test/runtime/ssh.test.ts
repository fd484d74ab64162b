import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { array, assert, property, string } from 'fast-check'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Execution, Executor } from '../../actors/ports.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { execOnHosts, type SshOptions, sshExecutor } from '../../runtime/execute/ssh.ts'
import {
  connectionProblem,
  destinationOf,
  endScript,
  quote,
  remoteLine,
} from '../../runtime/execute/ssh-words.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { commandLine, isAlive } from '../kit/processes.ts'
import { type SshHosts, sshdProblem, startSshHosts } from '../kit/sshd.ts'
import { contextOf, isWritten, pidIn, sh, silent } from './command-runner.ts'

const problem = sshdProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

const words = string({ unit: 'binary' }).filter((word) => !/[\0\ud800-\udfff]/.test(word))

describe('the words of ssh', () => {
  test('a word comes out of a shell as it went in', () => {
    assert(
      property(array(words, { minLength: 1, maxLength: 6 }), (argv) => {
        const script = `printf '%s\\0' ${argv.map(quote).join(' ')}`
        const { stdout } = Bun.spawnSync(['sh', '-c', script])
        expect(stdout.toString()).toBe(argv.map((word) => `${word}\0`).join(''))
      }),
      { numRuns: 50 },
    )
  })

  test('a command comes out of the login shell with its folder, variables and words', () => {
    const line = remoteLine({
      argv: ['printenv', "it's", 'PWD'],
      cwd: '/',
      env: { "it's": 'x', PWD: 'y' },
      token: 't',
    })
    expect(Bun.spawnSync(['sh', '-c', line]).stdout.toString()).toBe('x\ny\n')
    const odd = remoteLine({ argv: ['a=b'], env: {}, token: 't' })
    expect(Bun.spawnSync(['sh', '-c', odd]).exitCode).toBe(127)
    const nowhere = remoteLine({ argv: ['true'], cwd: '/no/such', env: {}, token: 't' })
    expect(Bun.spawnSync(['sh', '-c', nowhere]).exitCode).toBe(126)
  })

  test('are one line, for a shell to which a quoted one is no word', () => {
    const line = remoteLine({ argv: ['true'], env: { A: 'b' }, token: 't' })
    for (const said of [line, endScript('t', 2)]) expect(said).not.toContain('\n')
  })

  test('the script that ends a command does not end itself', () => {
    expect(Bun.spawnSync(['sh', '-c', endScript(crypto.randomUUID(), 1)]).exitCode).toBe(0)
  })

  test('an address may have a user and a port', () => {
    expect(destinationOf('db1')).toEqual(['--', 'db1'])
    expect(destinationOf('root@db1:2222')).toEqual(['-p', '2222', '--', 'root@db1'])
    expect(destinationOf('[fe80::1]:22')).toEqual(['-p', '22', '--', 'fe80::1'])
    expect(destinationOf('fe80::1')).toEqual(['--', 'fe80::1'])
  })

  test('what ssh says is told with what it means', () => {
    const problemOf = (text: string) => connectionProblem(text, 1000)
    expect(problemOf('ssh: connect to host a port 22: Connection refused\n')).toBe(
      'ssh: connect to host a port 22: Connection refused',
    )
    expect(problemOf('')).toBe('ssh: no answer within 1000 ms')
    expect(problemOf('root@a: Permission denied (publickey).')).toContain('refused the login')
  })
})

describe.skipIf(problem !== undefined)('commands on hosts', () => {
  let hosts: SshHosts
  let executor: Executor
  const made: Executor[] = []

  const executorOf = async (over: Partial<SshOptions> = {}): Promise<Executor> => {
    const command = commandExecutor({ log: silent })
    const { addresses, configFile } = hosts
    const options = { command, addresses, configFile, perHost: 1, connectMs: 3000, log: silent }
    const both = execOnHosts(command, sshExecutor({ ...options, ...over }))
    await both.start()
    made.push(both)
    return both
  }

  const exec = async (
    host: string | undefined,
    input: Record<string, unknown>,
    {
      timeoutMs,
      signal,
      on = executor,
    }: {
      timeoutMs?: number
      signal?: AbortSignal
      on?: Executor
    } = {},
  ): Promise<Execution & { output: ExecOutput }> => {
    const context = { ...contextOf(signal), ...(host === undefined ? {} : { host }) }
    const task = { input, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
    const execution = await on.run(task, context)
    return { ...execution, output: execution.output as ExecOutput }
  }

  beforeAll(async () => {
    hosts = await startSshHosts(['a', 'b', 'changed', 'lost'])
    executor = await executorOf()
  })
  afterAll(async () => {
    await Promise.all(made.map((one) => one.stop()))
    await hosts.stop()
  })

  test('run there, and say what they would have said here', async () => {
    const script = 'cat; echo "$SSH_CONNECTION" | cut -d" " -f3; echo "$MUSTER_SEQ" >&2; exit 3'
    const [a, b] = await Promise.all(
      ['a', 'b'].map((host) => exec(host, { argv: sh(script), stdin: 'in ' })),
    )
    expect(a?.output).toMatchObject({ exitCode: 3, stdout: 'in 127.0.0.2\n', stderr: '7\n' })
    expect(b?.output).toMatchObject({ exitCode: 3, stdout: 'in 127.0.0.3\n', stderr: '7\n' })
    expect(a).toMatchObject({ outcome: 'failed', stage: 'run', error: { code: 'EXIT' } })
    const fine = await exec('a', {
      argv: ['printf', '%s', '$(x) `y` "z" \'q\' \\'],
      okExitCodes: [0],
    })
    expect(fine).toMatchObject({ outcome: 'ok', output: { stdout: '$(x) `y` "z" \'q\' \\' } })
    expect((await exec(undefined, { argv: sh('echo "[$SSH_CONNECTION]"') })).output.stdout).toBe(
      '[]\n',
    )
  })

  test('share one connection to each host', async () => {
    const script = 'echo "$SSH_CONNECTION"'
    const told = [
      await exec('a', { argv: sh(script) }),
      await exec('a', { argv: sh(script) }),
      await exec('b', { argv: sh(script) }),
    ].map(({ output }) => output.stdout)
    expect(told[0]).toBe(told[1])
    expect(told[2]).not.toBe(told[1])
  })

  test('that exit with 255 have failed, and the host was reached', async () => {
    const said = await exec('a', { argv: sh('exit 255') })
    expect(said).toMatchObject({ outcome: 'failed', stage: 'run', error: { code: 'EXIT' } })
  })

  test('leave nothing of their group behind', async () => {
    for (const held of ['', ' >&- 2>&-']) {
      const [left, stubborn] = ['left', 'stubborn'].map((name) =>
        join(temporaryDirectory(), name),
      ) as [string, string]
      const deaf = `(trap "" TERM; sleep 61)${held} & echo $! > "$2"`
      const script = `sleep 60${held} & echo $! > "$1"; ${deaf}; exit 3`
      const said = await exec('a', { argv: sh(script, left, stubborn) }, { timeoutMs: 20_000 })
      expect(said).toMatchObject({ outcome: 'failed', output: { exitCode: 3 } })
      await eventually(() => {
        for (const path of [left, stubborn]) expect(isAlive(pidIn(path))).toBe(false)
      })
    }
  })

  test('have the variables they were given, whatever these are called', async () => {
    const env = { '-i': 'x', '--unset': 'HOME' }
    const said = await exec('a', { argv: sh('echo "[$HOME]"'), env })
    expect([said.outcome, said.output.stdout]).toEqual(['ok', expect.stringMatching(/^\[.+\]\n$/)])
  })

  test('run one after the other on a host, and side by side on several', async () => {
    const file = join(temporaryDirectory(), 'turns')
    const script = 'echo begin >> "$1"; sleep 0.2; echo end >> "$1"'
    await Promise.all([1, 2, 3].map(() => exec('a', { argv: sh(script, file) })))
    expect(readFileSync(file, 'utf8')).toBe('begin\nend\n'.repeat(3))
    const [left, right] = ['left', 'right'].map((name) => join(temporaryDirectory(), name))
    const meet =
      'touch "$1"; n=0; until [ -e "$2" ]; do n=$((n+1)); [ $n -gt 100 ] && exit 1; sleep 0.1; done'
    const met = await Promise.all([
      exec('a', { argv: sh(meet, left ?? '', right ?? '') }),
      exec('b', { argv: sh(meet, right ?? '', left ?? '') }),
    ])
    expect(met.map(({ outcome }) => outcome)).toEqual(['ok', 'ok'])
  })

  test('that run out of time end there as well, with all they started', async () => {
    const [file, child] = ['pid', 'child'].map((name) => join(temporaryDirectory(), name))
    const script = 'sleep 60 & echo $! > "$2"; echo $$ > "$1"; wait'
    const said = await exec('a', { argv: sh(script, file ?? '', child ?? '') }, { timeoutMs: 4000 })
    // Not how the `ssh` here ended.
    expect(said).toMatchObject({
      outcome: 'timeout',
      output: { exitCode: null, signal: null },
      error: { code: 'TIMEOUT', message: 'ran longer than 4 s; it was ended there' },
    })
    await eventually(() => {
      for (const path of [file ?? '', child ?? '']) expect(isAlive(pidIn(path))).toBe(false)
    })
  })

  test('that ignore SIGTERM are killed there', async () => {
    const file = join(temporaryDirectory(), 'pid')
    const script = 'trap "" TERM; echo $$ > "$1"; while :; do sleep 0.1; done'
    const said = await exec('b', { argv: sh(script, file) }, { timeoutMs: 4000 })
    expect(said.outcome).toBe('timeout')
    await eventually(() => expect(isAlive(pidIn(file))).toBe(false))
  })

  test('that fall silent end there as well', async () => {
    const file = join(temporaryDirectory(), 'pid')
    const said = await exec('a', { argv: sh('echo $$ > "$1"; sleep 60', file), stallMs: 2000 })
    expect([said.outcome, said.error?.code]).toEqual(['timeout', 'STALLED'])
    await eventually(() => expect(isAlive(pidIn(file))).toBe(false))
  })

  test('that are cancelled end there as well', async () => {
    const file = join(temporaryDirectory(), 'pid')
    const cancel = new AbortController()
    const script = 'echo $$ > "$1"; sleep 60'
    const saying = exec('a', { argv: sh(script, file) }, { signal: cancel.signal })
    await eventually(() => expect(isWritten(file)).toBe(true))
    cancel.abort(new Error('cancelled'))
    expect(await saying).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
    await eventually(() => expect(isAlive(pidIn(file))).toBe(false))
  })

  test('never run where nobody answers, and say so', async () => {
    const addresses = new Map([['gone', '127.0.0.77:1']])
    const on = await executorOf({ addresses })
    const said = await exec('gone', { argv: ['true'] }, { on })
    expect(said).toMatchObject({ outcome: 'failed', stage: 'start', error: { code: 'UNREACHED' } })
    expect(said.error?.message).toContain('Connection refused')
    const unknown = await exec('no-such-host.invalid', { argv: ['true'] }, { on })
    expect(unknown.error?.code).toBe('UNREACHED')
    expect(unknown.error?.message).toContain('no-such-host.invalid')
  })

  test('never run where somebody answers and then says nothing', async () => {
    const hung = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
    try {
      const addresses = new Map([['hung', `127.0.0.1:${hung.port}`]])
      const on = await executorOf({ addresses, connectMs: 1000 })
      const began = performance.now()
      const said = await exec('hung', { argv: ['true'] }, { on })
      expect(said).toMatchObject({ outcome: 'failed', stage: 'start' })
      expect(said.error?.code).toBe('UNREACHED')
      expect(said.error?.message).toMatch(/timed out|no answer within 1000 ms/)
      expect(performance.now() - began).toBeLessThan(15_000)
    } finally {
      hung.stop(true)
    }
  })

  test('that run when their host hangs end at their time limit', async () => {
    const on = await executorOf({ connectMs: 1000 })
    expect((await exec('b', { argv: ['true'] }, { on })).outcome).toBe('ok')
    hosts.freeze('b')
    try {
      const said = await exec('b', { argv: ['echo', 'a'] }, { on, timeoutMs: 500 })
      expect([said.outcome, said.error?.code]).toEqual(['timeout', 'TIMEOUT'])
    } finally {
      hosts.thaw('b')
    }
    expect((await exec('b', { argv: ['true'] }, { on })).outcome).toBe('ok')
  })

  test('never run on a host whose key has changed, or was never known', async () => {
    expect((await exec('changed', { argv: ['true'] })).outcome).toBe('ok')
    await hosts.kill('changed')
    await hosts.restartWithNewKey('changed')
    const on = await executorOf()
    const said = await exec('changed', { argv: ['true'] }, { on })
    expect(said).toMatchObject({ stage: 'start', error: { code: 'UNREACHED' } })
    expect(said.error?.message).toContain('its host key is not the one that is known of it')
    const addresses = new Map([
      ['stranger', hosts.addresses.get('a')?.replace('127.0.0.2', 'localhost') ?? ''],
    ])
    const strict = await executorOf({ addresses })
    const stranger = await exec('stranger', { argv: ['true'] }, { on: strict })
    expect(stranger.error?.code).toBe('UNREACHED')
  })

  test('whose connection is lost are to be run again', async () => {
    const file = join(temporaryDirectory(), 'pid')
    const saying = exec('lost', { argv: sh('echo $$ > "$1"; sleep 60', file) })
    await eventually(() => expect(isWritten(file)).toBe(true))
    await hosts.kill('lost')
    const said = await saying
    expect(said).toMatchObject({ stage: 'start', error: { code: 'CONNECTION_LOST' } })
    await eventually(async () => {
      expect((await exec('lost', { argv: ['true'] })).error?.code).toBe('UNREACHED')
    })
  })

  test('whose connection was killed did not run, and the next share another', async () => {
    const on = await executorOf()
    const script = 'echo "$SSH_CONNECTION"; echo ran >> "$1"; exit 255'
    const file = join(temporaryDirectory(), 'ran')
    const others = new Set(connections())
    expect((await exec('b', { argv: ['true'] }, { on })).outcome).toBe('ok')
    const own = connections().filter((pid) => !others.has(pid))
    expect(own).toHaveLength(1)
    for (const pid of own) process.kill(pid, 'SIGKILL')
    await eventually(() => expect(own.filter(isAlive)).toEqual([]))
    // Its socket is still there; nothing goes another way, so this one did not run.
    const lost = await exec('b', { argv: sh(script, file) }, { on })
    expect(lost).toMatchObject({ stage: 'start', error: { code: 'CONNECTION_LOST' } })
    expect(existsSync(file)).toBeFalse()
    const [first, second] = [
      await exec('b', { argv: sh(script, file) }, { on }),
      await exec('b', { argv: sh(script, file) }, { on }),
    ]
    expect(first).toMatchObject({ stage: 'run', error: { code: 'EXIT' } })
    expect(second.output.stdout).toBe(first.output.stdout)
    expect(readFileSync(file, 'utf8')).toBe('ran\nran\n')
  })

  test('whose connection was replaced before they noticed are not told as ended', async () => {
    const on = await executorOf({ perHost: 2 })
    const others = new Set(connections())
    const clients = () => pidsOf(/^ssh .*muster-ssh-.*ProxyCommand=false/)
    const file = join(temporaryDirectory(), 'pid')
    const running = exec('b', { argv: sh('echo $$ > "$1"; sleep 60', file) }, { on })
    await eventually(() => expect(isWritten(file)).toBe(true))
    const [client = 0, ...more] = clients()
    expect(more).toEqual([])
    process.kill(client, 'SIGSTOP')
    for (const pid of connections()) if (!others.has(pid)) process.kill(pid, 'SIGKILL')
    // The first one misses it, the next one opens another.
    const missed = await exec('b', { argv: ['true'] }, { on })
    expect(missed.error?.code).toBe('CONNECTION_LOST')
    expect((await exec('b', { argv: ['true'] }, { on })).outcome).toBe('ok')
    process.kill(client, 'SIGCONT')
    const said = await running
    expect(said).toMatchObject({ stage: 'start', error: { code: 'CONNECTION_LOST' } })
    expect((await exec('b', { argv: ['true'] }, { on })).outcome).toBe('ok')
  })

  test('that lose their connection end there, and at-most-once are not run again', async () => {
    const on = await executorOf()
    const others = new Set(connections())
    for (const delivery of ['at-least-once', 'at-most-once'] as const) {
      const file = join(temporaryDirectory(), 'pid')
      // What ssh ends with itself is no word of the command.
      const input = { argv: sh('echo $$ > "$1"; sleep 60', file), okExitCodes: [0, 255] }
      const running = on.run({ input, delivery }, { ...contextOf(), host: 'b' })
      await eventually(() => expect(isWritten(file)).toBe(true))
      const own = connections().filter((pid) => !others.has(pid))
      for (const pid of own) process.kill(pid, 'SIGKILL')
      const said = await running
      const stage = delivery === 'at-most-once' ? 'terminal' : 'start'
      expect(said).toMatchObject({ stage, error: { code: 'CONNECTION_LOST' } })
      expect(isAlive(pidIn(file))).toBeFalse()
    }
  })

  test('with limits that nobody there would hold are refused', async () => {
    const said = await exec('a', { argv: ['true'], limits: { memoryBytes: 1 } })
    expect(said).toMatchObject({ stage: 'terminal', error: { code: 'LIMITS_UNAVAILABLE' } })
    const cut = await exec('a', { argv: ['echo', 'abc'], limits: { outputBytes: 2 } })
    expect(cut.output).toMatchObject({ stdout: 'ab', truncated: true, stdoutBytes: 4 })
  })

  test('leave no connection behind when they stop', async () => {
    const on = await executorOf()
    const before = new Set(connections())
    await exec('a', { argv: ['true'] }, { on })
    const own = connections().filter((pid) => !before.has(pid))
    expect(own.length).toBe(1)
    await on.stop()
    await eventually(() => expect(own.filter(isAlive)).toEqual([]))
  })
})

/** Pids of the connections that are kept open. */
function connections(): number[] {
  return pidsOf(/^ssh .*muster-ssh-.* -M /)
}

function pidsOf(program: RegExp): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.filter((pid) => program.test(commandLine(pid)))
}
