import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { chmodSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Sandbox } from '../../actors/ports-sandbox.ts'
import { runSubprocess } from '../../actors/subprocess.ts'
import { namespaceSandboxes } from '../../runtime/execute/container/namespace.ts'
import { becomeOwner } from '../../runtime/execute/container/owner.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { startPodman } from '../kit/podman.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { importsOf, readSource } from '../kit/sources.ts'
import { sh, silent } from './command-runner.ts'
import { containerRunner } from './container-runner.ts'

setDefaultTimeout(120_000)
const problem = rootProblem()
if (problem !== undefined) console.log(`skipped, containers by namespaces: ${problem}`)
const root = problem === undefined ? makeRoot() : ''
const podman = startPodman()
if (typeof podman === 'string') console.log(`skipped, containers by Podman: ${podman}`)
else afterAll(() => podman.remove())

const runners: ReturnType<typeof containerRunner>[] = []
afterEach(async () => {
  for (const runner of runners.splice(0)) await runner.stop()
})

async function begin(settings: Parameters<typeof containerRunner>[0] = {}) {
  const runner = containerRunner(settings)
  runners.push(runner)
  await runner.start()
  return runner
}

test('what makes containers is not loaded before there is a task for it', () => {
  const project = join(import.meta.dir, '../..')
  const seen = new Set(['runtime/kinds.ts'])
  for (const path of seen) {
    for (const { target, typeOnly, line } of importsOf(readSource(project, path))) {
      const text = readSource(project, path).text.split('\n')[line - 1] ?? ''
      if (!typeOnly && target.endsWith('.ts') && !text.includes('import(')) seen.add(target)
    }
  }
  expect(seen).toContain('runtime/execute/container.ts')
  const loaded = [...seen].filter((path) => path.includes('/container/') || path.includes('pool'))
  expect(loaded).toEqual(['runtime/execute/container/settings.ts'])
})

describe.skipIf(problem !== undefined)('containers of a root', () => {
  test('made for each task are gone with it, and more than the rate are refused', async () => {
    const runner = await begin({ mode: 'ephemeral', ephemeralRate: 1, slots: 8 })
    const first = await runner.run({ root, argv: sh('touch /new; cat /etc/base') })
    expect(first.outcome).toBe('ok')
    const many = await Promise.all(
      Array.from({ length: 5 }, () => runner.run({ root, argv: ['cat', '/new'] })),
    )
    expect(many.map(({ error }) => error?.code)).toContain('SANDBOX_RATE')
    expect(many.filter(({ stage }) => stage === 'start').length).toBeGreaterThanOrEqual(3)
    expect(many.filter(({ outcome }) => outcome === 'ok')).toEqual([])
  })

  test('are refused where only images are to be run', async () => {
    const runner = await begin({ provider: 'docker' })
    const { error } = await runner.run({ root, argv: ['true'] })
    expect(error?.code).toBe('SANDBOX_UNAVAILABLE')
    expect(error?.message).toContain('worker.containerProvider is "docker"')
  })

  test('that are all in use are waited for, and not for ever', async () => {
    const runner = await begin({ slots: 1, checkoutMs: 2000 })
    const holding = new AbortController()
    const holder = runner.run({ root, argv: ['sleep', '1000'] }, {}, holding.signal)
    const { error, stage } = await runner.run({ root, argv: ['true'] })
    expect([stage, error?.code]).toEqual(['start', 'CHECKOUT_TIMEOUT'])
    holding.abort()
    expect((await holder).error?.code).toBe('ABORTED')
    expect((await runner.run({ root, argv: ['true'] })).outcome).toBe('ok')
  })

  test('see their root read-only where there are no overlays, and that is said', async () => {
    const owner = becomeOwner()
    const sandboxes = namespaceSandboxes({
      owner,
      scratchBytes: 1024 * 1024,
      overlays: 'off',
      log: silent,
    })
    const base = { root, network: 'none', limits: {} } as const
    const sandbox: Sandbox = await sandboxes.create(base)
    const run = async (script: string) => {
      const program = sandbox.prepare({ ...base, argv: sh(script), env: {} })
      const times = { softKillMs: 9000, hardKillMs: 9999, drainMs: 200, reapMs: 1000 }
      const clock = { monotonic: () => performance.now() }
      const options = { times, outputBytesMax: 9999, signals: [], clock }
      const result = await runSubprocess(program.processes, program.command, options)
      program.close()
      return result
    }
    try {
      const seen = await run('cat /etc/base; echo x > /tmp/x && cat /tmp/x; echo y > /etc/base')
      expect(seen.stdout.text()).toBe('as it was\nx\n')
      expect(seen.stderr.text()).toContain('Read-only file system')
      expect((await run('cat /tmp/x')).exit?.exitCode).toBe(1)
    } finally {
      await sandboxes.close()
      owner.release()
    }
  })

  test('leave no directory behind when they are stopped', async () => {
    const before = process.env['TMPDIR']
    const directory = temporaryDirectory()
    process.env['TMPDIR'] = directory
    try {
      const runner = await begin()
      expect(await runner.run({ root, argv: ['true'] })).toMatchObject({ outcome: 'ok' })
      const [owners = ''] = readdirSync(directory)
      expect(readdirSync(join(directory, owners))).toHaveLength(1)
      await runner.stop()
      expect(readdirSync(join(directory, owners))).toEqual([])
    } finally {
      if (before === undefined) delete process.env['TMPDIR']
      else process.env['TMPDIR'] = before
    }
  })
})

test('without containers programs run on the machine, and that is said', async () => {
  const runner = await begin({ mode: 'host' })
  const directory = temporaryDirectory()
  const { output } = await runner.run({ image: 'any', argv: ['pwd'], cwd: directory })
  expect(output.stdout).toBe(`${directory}\n`)
  expect(runner.warnings).toEqual([
    'worker.containerMode is "host": tasks of kind container run without a container',
  ])
})

test('without containers no network cannot be had, and is not claimed', async () => {
  const runner = await begin({ mode: 'host' })
  const { outcome, error } = await runner.run({ image: 'a', argv: ['true'], network: 'none' })
  expect([outcome, error?.code]).toEqual(['failed', 'SANDBOX_UNAVAILABLE'])
})

describe('containers of an image', () => {
  test('without Podman or Docker say what is missing', async () => {
    const runner = await begin({ program: '/not-there/podman' })
    const { stage, error } = await runner.run({ image: 'debian:12', argv: ['true'] })
    expect([stage, error?.code]).toEqual(['start', 'SANDBOX_UNAVAILABLE'])
    expect(error?.message).toContain('/not-there/podman')
  })

  test('of a daemon that does not let us in say what it said', async () => {
    const program = join(temporaryDirectory(), 'docker')
    const said = 'permission denied while trying to connect to the Docker daemon socket'
    writeFileSync(program, `#!/bin/sh\necho '${said}' >&2\nexit 1\n`)
    chmodSync(program, 0o755)
    const runner = await begin({ program })
    const { stage, error } = await runner.run({ image: 'debian:12', argv: ['true'] })
    expect([stage, error?.code]).toEqual(['start', 'SANDBOX_UNAVAILABLE'])
    expect(error?.message).toContain(said)
    expect(error?.message).toContain(`${program} ps`)
  })
})

describe.skipIf(typeof podman === 'string')('containers of an image, by Podman', () => {
  const { program, image } = typeof podman === 'string' ? { program: '', image: '' } : podman

  test('run their task, isolated, and leave nothing to the next one', async () => {
    const runner = await begin({ program, slots: 1 })
    const script = sh('cat /etc/base; cat /new; touch /new; cat /proc/net/dev | tail -n +3')
    for (let task = 0; task < 2; task += 1) {
      const { outcome, output } = await runner.run({ image, argv: script, stdin: '' })
      expect(outcome).toBe('ok')
      const [first, ...links] = output.stdout.trimEnd().split('\n')
      expect(first).toBe('as it was')
      expect(links.map((line) => line.split(':')[0]?.trim())).toEqual(['lo'])
      expect(output.stderr).toContain('/new')
    }
  })

  test('end with the code of their program, also with that of the tool', async () => {
    const runner = await begin({ program, slots: 1 })
    const argv = sh('echo work; echo "my own trouble" >&2; exit 125')
    const { stage, error, output } = await runner.run({ image, argv })
    expect([stage, error?.code]).toEqual(['run', 'EXIT'])
    expect(output).toMatchObject({ exitCode: 125, stdout: 'work\n', stderr: 'my own trouble\n' })
    const wordless = await runner.run({ image, argv: sh('exit 125') })
    expect([wordless.stage, wordless.error?.code]).toEqual(['run', 'EXIT'])
  })

  test('that somebody removed have not run, and others take their place', async () => {
    const runner = await begin({ program, slots: 1 })
    expect((await runner.run({ image, argv: ['true'] })).outcome).toBe('ok')
    await eventually(async () => {
      if (typeof podman === 'string') return
      expect(podman.run('ps', '-q').output).not.toBe('')
      podman.remove()
      const { stage, error } = await runner.run({ image, argv: ['true'] })
      expect([stage, error?.code]).toEqual(['start', 'SANDBOX'])
      expect(error?.message).toContain('no such container')
    })
    expect((await runner.run({ image, argv: ['true'] })).outcome).toBe('ok')
  })

  test('of an image that is not there say how to get it', async () => {
    const runner = await begin({ program })
    const { stage, error } = await runner.run({ image: 'localhost/none:1', argv: ['true'] })
    expect([stage, error?.code]).toEqual(['start', 'BASE_MISSING'])
    expect(error?.message).toContain('pull localhost/none:1')
  })

  test('are ended at their time limit', async () => {
    const runner = await begin({ program, slots: 1 })
    const argv = ['sleep', '1000']
    const { outcome, error } = await runner.run({ image, argv }, { timeoutMs: 1000 })
    expect([outcome, error?.code]).toEqual(['timeout', 'TIMEOUT'])
    expect((await runner.run({ image, argv: ['true'] })).outcome).toBe('ok')
  })

  test('keep within their memory, or are refused', async () => {
    const runner = await begin({ program, slots: 1 })
    const { outcome, error } = await runner.run({
      image,
      argv: sh('dd if=/dev/zero of=/dev/null bs=200M count=1'),
      limits: { memoryBytes: 64 * 1024 * 1024 },
    })
    expect(outcome).toBe('failed')
    // Held, where Podman may use cgroups.
    expect(error?.code).toMatch(/^(LIMITS_UNAVAILABLE|EXIT)$/)
  })

  test('without a program that waits are made for each task, within its limits', async () => {
    const cold = 'localhost/muster-cold:1'
    const bare = makeRoot()
    rmSync(join(bare, 'bin', 'sleep'))
    if (typeof podman !== 'string') podman.import(bare, cold)
    const runner = await begin({ program, slots: 1 })
    const twice = { image: cold, argv: sh('cat /new; echo new > /new; cat /new') }
    for (let task = 0; task < 2; task += 1) {
      const { outcome, output } = await runner.run(twice)
      expect([outcome, output.stdout]).toEqual(['ok', 'new\n'])
      expect(output.stderr).toContain("can't open '/new'")
    }
    expect(runner.warnings).toContain(
      'there is no "sleep" in this image: a container is made for each of its tasks',
    )
    const { outcome, error } = await runner.run({
      image: cold,
      argv: sh('dd if=/dev/zero of=/dev/null bs=200M count=1'),
      limits: { memoryBytes: 64 * 1024 * 1024 },
    })
    expect(outcome).toBe('failed')
    expect(error?.code).toMatch(/^(LIMITS_UNAVAILABLE|EXIT)$/)
    const few = await runner.run({ image: cold, argv: ['true'], limits: { pids: 5 } })
    expect(few.error?.code ?? 'held').toMatch(/^(LIMITS_UNAVAILABLE|held)$/)
    const spins = { image: cold, argv: sh('while :; do :; done'), limits: { cpuSeconds: 1 } }
    // The first process of a container is not told by SIGXCPU, but it is killed a second later.
    const killed = 'exited with 137 (killed, perhaps because limits.cpuSeconds is 1)'
    expect((await runner.run(spins)).error?.message).toContain(killed)
  })

  test('hold their processor time', async () => {
    const runner = await begin({ program, slots: 1 })
    const { output, error } = await runner.run({
      image,
      argv: sh('while :; do :; done'),
      limits: { cpuSeconds: 1 },
    })
    expect(error?.message).toContain('limits.cpuSeconds is 1')
    expect(output.limitsMode as string).toBe('container')
  })

  test('are gone when they are stopped', async () => {
    const runner = await begin({ program, slots: 2 })
    await Promise.all([1, 2].map(() => runner.run({ image, argv: ['true'] })))
    await runner.stop()
    if (typeof podman === 'string') return
    expect(podman.run('ps', '-aq').output.trim()).toBe('')
  })
})
