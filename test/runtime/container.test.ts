import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { commandLine, descendantsOf, processesWith } from '../kit/processes.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { sh } from './command-runner.ts'
import { containerRunner } from './container-runner.ts'

setDefaultTimeout(60_000)
const problem = rootProblem()
if (problem !== undefined) console.log(`skipped, containers by namespaces: ${problem}`)

describe.skipIf(problem !== undefined)('a container of a root', () => {
  const root = problem === undefined ? makeRoot() : ''
  const runner = containerRunner()
  beforeAll(() => runner.start())
  afterAll(() => runner.stop())
  const run = (argv: readonly string[], more: Record<string, unknown> = {}) =>
    runner.run({ root, argv, ...more })

  test('has the output of exec', async () => {
    const { outcome, output } = await run(['cat'], { stdin: 'hello' })
    expect(outcome).toBe('ok')
    expect(output).toEqual({
      exitCode: 0,
      signal: null,
      stdout: 'hello',
      stderr: '',
      truncated: false,
      stdoutBytes: 5,
      stderrBytes: 0,
      durationMs: expect.any(Number),
      limitsMode: 'none',
    })
  })

  test('sees the files of its root, and none of the machine', async () => {
    const secret = join(temporaryDirectory(), 'secret')
    writeFileSync(secret, 'of the machine')
    expect((await run(['cat', '/etc/base'])).output.stdout).toBe('as it was\n')
    const { outcome, error } = await run(['cat', secret])
    expect(outcome).toBe('failed')
    expect(error?.message).toContain('No such file or directory')
  })

  test('may write, and its root stays as it was', async () => {
    const { outcome } = await run(sh('echo changed > /etc/base; echo new > /new; cat /new'))
    expect(outcome).toBe('ok')
    expect(readFileSync(join(root, 'etc', 'base'), 'utf8')).toBe('as it was\n')
    expect(existsSync(join(root, 'new'))).toBe(false)
  })

  test('leaves nothing to the next one', async () => {
    for (let task = 0; task < 6; task += 1) {
      const { output } = await run(sh('cat /new /tmp/new; cat /etc/base; touch /new /tmp/new'))
      expect(output.stdout).toBe('as it was\n')
    }
  })

  test('cannot change the settings of the kernel', async () => {
    const before = readFileSync('/proc/sys/kernel/core_pattern', 'utf8')
    const { output } = await run(sh('echo x > /proc/sys/kernel/core_pattern; echo $?'))
    expect(output.stdout).toBe('1\n')
    expect(readFileSync('/proc/sys/kernel/core_pattern', 'utf8')).toBe(before)
  })

  test('cannot mount anything', async () => {
    const { outcome, output } = await run(sh('mkdir -p /m && mount -t tmpfs none /m'))
    expect(outcome).toBe('failed')
    expect(output.stderr).toContain('mount')
  })

  test('has no network unless it is asked for', async () => {
    const links = async (more: Record<string, unknown>) =>
      (await run(sh('cat /proc/net/dev'), more)).output.stdout.split('\n').slice(2)
    const here = readFileSync('/proc/net/dev', 'utf8').split('\n').slice(2)
    const namesOf = (lines: string[]) => new Set(lines.map((line) => line.split(':')[0]?.trim()))
    expect(namesOf(await links({}))).toEqual(new Set(['', 'lo']))
    expect(namesOf(await links({ network: 'none' }))).toEqual(new Set(['', 'lo']))
    expect(namesOf(await links({ network: 'host' }))).toEqual(namesOf(here))
  })

  test('reaches nobody who listens on the machine', async () => {
    const socket = { open: (peer: Bun.Socket) => void peer.end('here'), data() {} }
    const server = Bun.listen({ hostname: '127.0.0.1', port: 0, socket })
    try {
      const ask = ['busybox', 'nc', '-w', '2', '127.0.0.1', `${server.port}`]
      expect((await run(ask, { network: 'host' })).output.stdout).toBe('here')
      expect((await run(ask)).outcome).toBe('failed')
    } finally {
      server.stop(true)
    }
  })

  test('sees its own processes alone', async () => {
    const { output } = await run(sh('for p in /proc/[0-9]*; do echo $p; done'))
    const pids = output.stdout.trim().split('\n')
    expect(pids.length).toBeLessThan(5)
    expect(pids).toContain('/proc/1')
    const killing = await run(sh(`kill -0 ${process.pid}`))
    expect(killing.outcome).toBe('failed')
  })

  test('has the environment of its task and none of ours', async () => {
    process.env['MUSTER_TEST_SECRET'] = 'ours'
    const { output } = await run(['env'], { env: { A: 'b c', LD_PRELOAD: '/not-there' } })
    delete process.env['MUSTER_TEST_SECRET']
    const names = output.stdout.split('\n').map((line) => line.split('=')[0])
    const wanted = 'A HOME LD_PRELOAD MUSTER_RUN MUSTER_SEQ PATH PWD TRACEPARENT'
    expect(new Set(names.filter(Boolean))).toEqual(new Set(wanted.split(' ')))
    expect(output.stdout).toContain('A=b c\n')
  })

  test('begins where it is told to', async () => {
    expect((await run(sh('echo $PWD'), { cwd: '/tmp' })).output.stdout).toBe('/tmp\n')
    const nowhere = await run(['true'], { cwd: '/not-there' })
    expect(nowhere).toMatchObject({ outcome: 'failed', stage: 'start', error: { code: 'ENOENT' } })
  })

  test('is told at its time limit, and its last words are kept', async () => {
    const argv = sh('trap "echo bye; exit 3" TERM; while :; do sleep 0.05; done')
    const { outcome, output } = await runner.run({ root, argv }, { timeoutMs: 2000 })
    expect(outcome).toBe('timeout')
    expect(output).toMatchObject({ stdout: 'bye\n', exitCode: 3 })
  })

  test('leaves no process behind when it is killed, wherever that hides', async () => {
    const mark = `MUSTER_TEST_MARK=${crypto.randomUUID()}`
    const [name = '', value = ''] = mark.split('=')
    const argv = sh(
      'trap "" TERM; (busybox setsid sleep 1000 &) ; busybox nohup sleep 1000 & sleep 1000',
    )
    const { outcome } = await runner.run(
      { root, argv, env: { [name]: value } },
      { timeoutMs: 1500 },
    )
    expect(outcome).toBe('timeout')
    await eventually(() => expect(processesWith(mark)).toEqual([]))
  })

  test('leaves no process behind when it ends', async () => {
    const mark = `MUSTER_TEST_MARK=${crypto.randomUUID()}`
    const [name = '', value = ''] = mark.split('=')
    const argv = sh('busybox setsid sleep 1000 >/dev/null 2>&1 & echo done')
    const { outcome } = await runner.run({ root, argv, env: { [name]: value } })
    expect(outcome).toBe('ok')
    await eventually(() => expect(processesWith(mark)).toEqual([]))
  })

  test('is cancelled before and while it runs', async () => {
    const cancel = new AbortController()
    const running = runner.run({ root, argv: ['sleep', '1000'] }, {}, cancel.signal)
    await Bun.file('/proc/self/stat').text()
    cancel.abort()
    expect((await running).error?.code).toBe('ABORTED')
    const late = await runner.run({ root, argv: ['true'] }, {}, cancel.signal)
    expect(late).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' }, stage: 'start' })
  })

  test('cannot write more than it may, and that is gone with it', async () => {
    const fill = sh('dd if=/dev/zero of=/big bs=1M count=64')
    const { outcome, output } = await run(fill)
    expect(outcome).toBe('failed')
    expect(output.stderr).toContain('No space left on device')
    expect((await run(sh('dd if=/dev/zero of=/big bs=1M count=8'))).outcome).toBe('ok')
  })

  test('keeps within its processor time', async () => {
    const { outcome, error, output } = await run(sh('while :; do :; done'), {
      limits: { cpuSeconds: 1 },
    })
    expect(outcome).toBe('failed')
    expect(error?.message).toContain('limits.cpuSeconds is 1')
    expect(output.limitsMode).toContain('rlimit')
  })

  test('keeps within its memory, or is refused', async () => {
    const { outcome, error } = await run(
      ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'],
      {
        limits: { memoryBytes: 64 * 1024 * 1024 },
      },
    )
    expect(outcome).toBe('failed')
    expect(error?.code).toMatch(/^(EXIT|LIMITS_UNAVAILABLE)$/)
  })

  test('keeps within its number of processes, or is refused', async () => {
    const some = sh('for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo all')
    const few = await run(some, { limits: { pids: 4 } })
    expect(few.outcome).toBe('failed')
    if (few.error?.code === 'LIMITS_UNAVAILABLE') return
    expect(few.output.stderr).toContain("can't fork")
    expect((await run(some, { limits: { pids: 16 } })).output.stdout).toBe('all\n')
  })

  test('keeps the head of much output', async () => {
    const { output } = await run(['head', '-c', '1000000', '/dev/zero'], {
      limits: { outputBytes: 1000 },
    })
    expect(output).toMatchObject({ truncated: true, stdoutBytes: 1_000_000 })
    expect(output.stdout).toHaveLength(1000)
  })

  test('of a root that is not there has not run, and says so', async () => {
    const { outcome, error, stage } = await runner.run({ root: '/not-there', argv: ['true'] })
    expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'BASE_MISSING'])
    expect(error?.message).toContain('/not-there')
  })

  test('of a program that is not there has not run, and says so', async () => {
    const { stage, error } = await run(['no-such-program'])
    expect([stage, error?.code]).toEqual(['start', 'ENOENT'])
    expect(error?.message).toContain('no-such-program')
  })

  test('comes as often as it is wanted, however few there are', async () => {
    const all = await Promise.all(Array.from({ length: 30 }, () => run(['true'])))
    expect(all.filter(({ outcome }) => outcome === 'ok')).toHaveLength(30)
  })

  test('is taken away without a word, however many there are', async () => {
    const many = containerRunner({ slots: 20 })
    await many.start()
    const sleeping = { root, argv: ['sleep', '0.2'] }
    const all = await Promise.all(Array.from({ length: 20 }, () => many.run(sleeping)))
    expect(all.filter(({ outcome }) => outcome === 'ok')).toHaveLength(20)
    await many.stop()
    expect(many.warnings).toEqual([])
  })

  test('goes on when what keeps the file systems is killed', async () => {
    await run(['true'])
    const keepers = descendantsOf(process.pid).filter((pid) => commandLine(pid).includes('keeper'))
    expect(keepers).toHaveLength(1)
    for (const pid of keepers) process.kill(pid, 'SIGKILL')
    await eventually(async () => expect((await run(['true'])).outcome).toBe('ok'))
  })
})
