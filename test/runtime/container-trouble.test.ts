/** What a container needs and does not get: each time the task ends, and says what is missing. */
import { afterEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { chmodSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { containerRunner } from './container-runner.ts'

setDefaultTimeout(60_000)
const problem = rootProblem()
if (problem !== undefined) console.log(`skipped, containers by namespaces: ${problem}`)
const podman = Bun.which('podman')
if (podman === null) console.log('skipped: no podman here (Debian: apt-get install podman)')
const isRoot = process.getuid?.() === 0 && Bun.which('setpriv') !== null
if (!isRoot) console.log('skipped: a socket that only root may use, for want of root or setpriv')

const runners: ReturnType<typeof containerRunner>[] = []
const listeners: { stop(closes: boolean): void }[] = []
afterEach(async () => {
  for (const listener of listeners.splice(0)) listener.stop(true)
  for (const runner of runners.splice(0)) await runner.stop()
})

async function begin(settings: Parameters<typeof containerRunner>[0] = {}) {
  const runner = containerRunner({ slots: 1, checkoutMs: 10_000, ...settings })
  runners.push(runner)
  await runner.start()
  return runner
}

describe.skipIf(problem !== undefined)('a root', () => {
  test('that is no directory has not run, and its path is told', async () => {
    const runner = await begin()
    const directory = temporaryDirectory()
    const file = join(directory, 'file')
    writeFileSync(file, '')
    const loop = join(directory, 'loop')
    symlinkSync(loop, loop)
    const roots = [file, join(file, 'below'), join(directory, 'none')]
    for (const root of roots) {
      const { outcome, stage, error } = await runner.run({ root, argv: ['true'] })
      expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'BASE_MISSING'])
      expect(error?.message).toContain(`there is no directory ${root} on this node`)
    }
    const { stage, error } = await runner.run({ root: loop, argv: ['true'] })
    expect(stage).toBe('start')
    expect(error?.message).toContain(loop)
  })

  test('that is the one of the machine, by whatever name, is refused', async () => {
    const runner = await begin()
    const link = join(temporaryDirectory(), 'link')
    symlinkSync('/', link)
    for (const root of [link, '/proc/self/root', `${link}/.`]) {
      const { outcome, stage, error } = await runner.run({ root, argv: ['cat', '/etc/hostname'] })
      expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'BASE_REFUSED'])
      expect(error?.message).toContain(`got ${root}, which is that of the machine`)
    }
  })

  test('that goes away while containers wait is missed by one of the next tasks', async () => {
    const runner = await begin()
    const root = makeRoot()
    expect((await runner.run({ root, argv: ['true'] })).outcome).toBe('ok')
    renameSync(root, `${root}-away`)
    await eventually(async () => {
      const { stage, error } = await runner.run({ root, argv: ['true'] })
      expect([stage, error?.code]).toEqual(['start', 'BASE_MISSING'])
    })
    renameSync(`${root}-away`, root)
    expect((await runner.run({ root, argv: ['true'] })).outcome).toBe('ok')
  })
})

describe.skipIf(podman === null)('the socket of a daemon', () => {
  const task = { image: 'debian:12', argv: ['true'] }

  /** Podman as a client of it alone. */
  const clientOf = (socket: string, under = ''): string => {
    const directory = temporaryDirectory()
    chmodSync(directory, 0o755)
    const program = join(directory, 'podman')
    const words = `${under} env HOME=${directory} ${podman} --url unix://${socket}`
    writeFileSync(program, `#!/bin/sh\nexec ${words} "$@"\n`)
    chmodSync(program, 0o755)
    return program
  }

  /** Somebody who listens and never answers. */
  const silent = (): string => {
    const directory = temporaryDirectory()
    chmodSync(directory, 0o755)
    mkdirSync(join(directory, 'open'))
    const socket = join(directory, 'open', 'socket')
    listeners.push(Bun.listen({ unix: socket, socket: { data() {} } }))
    chmodSync(socket, 0o600)
    return socket
  }

  test('that is not there is told, with what to try', async () => {
    const socket = join(temporaryDirectory(), 'none')
    const program = clientOf(socket)
    const runner = await begin({ program })
    const { outcome, stage, error } = await runner.run(task)
    expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'SANDBOX_UNAVAILABLE'])
    expect(error?.message).toContain(`${socket}: connect: no such file or directory`)
    expect(error?.message).toContain(`check that this user may use ${program}: ${program} ps`)
  })

  test.skipIf(!isRoot)('that this user may not use is told, with what to try', async () => {
    const socket = silent()
    const program = clientOf(socket, 'setpriv --reuid 65534 --regid 65534 --clear-groups')
    const runner = await begin({ program })
    const { outcome, stage, error } = await runner.run(task)
    expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'SANDBOX_UNAVAILABLE'])
    expect(error?.message).toContain(`${socket}: connect: permission denied`)
    expect(error?.message).toContain(`${program} ps`)
  })

  test('on which nobody answers is not waited for longer than for a container', async () => {
    const runner = await begin({ program: clientOf(silent()), checkoutMs: 300 })
    const { outcome, stage, error } = await runner.run(task)
    expect([outcome, stage, error?.code]).toEqual(['failed', 'start', 'CHECKOUT_TIMEOUT'])
    expect(error?.message).toContain('0 of 1 are in use, 1 is being made')
  })
})

describe('a limit of memory', () => {
  test('holds for swap as well, and is named where a program was killed', async () => {
    const directory = temporaryDirectory()
    const heard = join(directory, 'heard')
    // Stands for one that may hold limits: no Podman in a test may where cgroups are hybrid.
    const program = join(directory, 'podman')
    const held = '{"Memory":67108864}'
    writeFileSync(
      program,
      `#!/bin/sh\necho "$*" >> ${heard}\n` +
        `case $1 in inspect) echo '${held}';; exec) exit 137;; esac\n`,
    )
    chmodSync(program, 0o755)
    const runner = await begin({ program })
    const limits = { memoryBytes: 67_108_864 }
    const { outcome, error } = await runner.run({ image: 'some', argv: ['eater'], limits })
    expect(readFileSync(heard, 'utf8')).toContain('--memory 67108864b --memory-swap 67108864b')
    expect([outcome, error?.code]).toEqual(['failed', 'EXIT'])
    expect(error?.message).toBe(
      'exited with 137 (killed, perhaps because limits.memoryBytes is 67108864)',
    )
  })
})
