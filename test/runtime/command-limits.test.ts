/** Limits of commands, as far as this machine lets them be held: each is made to bind. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecInput, ExecOutput } from '../../actors/exec-input.ts'
import type { Executor } from '../../actors/ports.ts'
import { cgroupPlaces } from '../../runtime/execute/cgroup-mounts.ts'
import { releaseCgroups, takeCgroups } from '../../runtime/execute/cgroup-search.ts'
import { Cgroups } from '../../runtime/execute/cgroups.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { planLimits } from '../../runtime/execute/limits.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { contextOf, isWritten, pidIn, sh, silent } from './command-runner.ts'

const found = await takeCgroups()
const memory = 64 * 2 ** 20
const version = found.versionFor({ memoryBytes: memory, pids: 5 })
await releaseCgroups()
const isRoot = process.getuid?.() === 0
const hasPrlimit = Bun.which('prlimit') !== null
const hasSetsid = Bun.which('setsid') !== null
if (!hasPrlimit || !hasSetsid) console.log('skipped: no prlimit or setsid here (util-linux)')
const isTracked = found.bases.length > 0
if (version === undefined) console.log('skipped: limits of cgroups, which nobody may make here')
if (!isTracked) console.log('skipped: who leaves the group, as no cgroup can be made here')

const dir = temporaryDirectory()
const runners: Executor[] = []
async function executor(cgroups: 'auto' | 'off'): Promise<Executor> {
  const made = commandExecutor({ log: silent, cgroups })
  runners.push(made)
  await made.start()
  return made
}
let auto: Executor
let plain: Executor
beforeAll(async () => {
  auto = await executor('auto')
  plain = await executor('off')
})
afterAll(async () => {
  for (const runner of runners) await runner.stop()
})

async function run(by: Executor, input: ExecInput, timeoutMs?: number, signal?: AbortSignal) {
  const task = { input, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
  const execution = await by.run(task, contextOf(signal))
  return { ...execution, output: execution.output as ExecOutput }
}

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test.skipIf(!isTracked)('a cgroup that somebody took away is not used again', async () => {
  expect((await run(auto, { argv: ['true'] })).outcome).toBe('ok')
  // It is kept for the next one.
  for (const base of found.bases) {
    for (const name of readdirSync(base, { withFileTypes: true })) {
      if (name.isDirectory()) rmdirSync(join(base, name.name))
    }
  }
  const { outcome, stage } = await run(auto, { argv: ['true'] })
  expect([outcome, stage]).toEqual(['failed', 'start'])
  expect((await run(auto, { argv: ['true'] })).outcome).toBe('ok')
})

test.skipIf(!isTracked)('cgroups that a command made within its own are taken away', async () => {
  const own = 'for d in "$@"; do for c in "$d"/*/; do grep -qx $$ "$c/cgroup.procs" || continue'
  const argv = sh(`${own}; mkdir "$c/inner" && echo made; done; done`, ...found.bases)
  const limits = { pids: 20 }
  for (const kind of version === undefined ? [{}] : [{}, { limits }]) {
    const { output } = await run(auto, { argv, ...kind })
    expect(output.stdout).toContain('made')
  }
  const other = await executor('auto')
  expect((await run(other, { argv: ['true'] })).outcome).toBe('ok')
  await auto.stop()
  await other.stop()
  expect(found.bases.filter((base) => existsSync(base))).toEqual([])
  await auto.start()
})

test('cgroups that cannot be removed hold up nobody', () => {
  const base = temporaryDirectory()
  // In an ordinary directory a limit is a file, with which it cannot be removed.
  const stuck = new Cgroups([{ base, outside: base, version: 1, holds: ['pids'] }])
  for (let command = 1; command <= 30; command += 1) stuck.open({ pids: 5 })?.close(false)
  expect(readdirSync(base)).toHaveLength(30)
  for (const name of readdirSync(base)) rmSync(join(base, name, 'pids.max'))
  for (let command = 1; command <= 4; command += 1) stuck.open({ pids: 5 })?.close(false)
  // Those of before are removed a few at a time.
  expect(readdirSync(base)).toHaveLength(4)
})

describe.skipIf(version === undefined)('limits by cgroup', () => {
  const mode = `cgroup${version ?? 1}` as const

  test('memoryBytes binds for the whole tree, and the result says which limit it was', async () => {
    const limits = { memoryBytes: memory }
    const { outcome, error, output } = await run(auto, { argv: ['tail', '/dev/zero'], limits })
    expect([outcome, error?.code, output.limitsMode]).toEqual(['failed', 'SIGNAL', mode])
    expect(error?.message).toContain(`limits.memoryBytes is ${memory}`)
    const small = await run(auto, { argv: ['echo', 'ok'], limits })
    expect([small.outcome, small.output.stdout]).toEqual(['ok', 'ok\n'])
  })

  test('pids binds, also for root, and beside memoryBytes', async () => {
    const script = 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; true'
    for (const limits of [{ pids: 4 }, { pids: 4, memoryBytes: memory }]) {
      const { outcome, output } = await run(auto, { argv: sh(script), limits })
      expect([outcome, output.limitsMode]).toEqual(['failed', mode])
      expect(output.stderr).toMatch(/[Cc]annot fork|Resource temporarily unavailable/)
    }
    const more = await run(auto, { argv: sh(script), limits: { pids: 20 } })
    expect(more.outcome).toBe('ok')
  })

  test.skipIf(!hasPrlimit)(
    'processor time is held by an rlimit beside it, and both are told',
    () => {
      const plan = planLimits({ memoryBytes: memory, cpuSeconds: 3 }, found)
      expect(plan).toEqual({
        mode: `${mode}+rlimit`,
        byCgroup: { memoryBytes: memory },
        byRlimit: { cpuSeconds: 3 },
      })
    },
  )

  test('fifty limited commands leave no cgroup behind once their executor stops', async () => {
    const limits = { memoryBytes: memory, pids: 20 }
    await Promise.all(
      Array.from({ length: 50 }, () => run(auto, { argv: sh('sleep 0.01 & true'), limits })),
    )
    for (const runner of runners) await runner.stop()
    await eventually(() => {
      for (const base of found.bases) expect([base, existsSync(base)]).toEqual([base, false])
    })
    for (const runner of runners) await runner.start()
  })
})

describe.skipIf(!isTracked || !hasSetsid)('who leaves the process group of its command', () => {
  const script = 'setsid sh -c \'echo $$ > "$0"; exec sleep 60\' "$1" >/dev/null 2>&1 &'

  test('ends with it all the same when its time is up', async () => {
    const path = join(dir, 'left')
    const { outcome } = await run(auto, { argv: sh(`${script} sleep 60`, path) }, 500)
    expect([outcome, isWritten(path)]).toEqual(['timeout', true])
    await eventually(() => expect(isAlive(pidIn(path))).toBe(false))
  })

  test('is on its own when the command has ended by itself', async () => {
    const path = join(dir, 'daemon')
    const wait = 'while [ ! -s "$1" ]; do sleep 0.01; done'
    const { outcome } = await run(auto, { argv: sh(`${script} ${wait}`, path) })
    expect(outcome).toBe('ok')
    await eventually(() => expect(isWritten(path)).toBe(true))
    expect(isAlive(pidIn(path))).toBe(true)
    process.kill(pidIn(path), 'SIGKILL')
  })
})

describe('limits without cgroups', () => {
  test.skipIf(!hasPrlimit)('memoryBytes is the address space of each process', async () => {
    const limits = { memoryBytes: 2 ** 30 }
    const { output } = await run(plain, { argv: sh('ulimit -v'), limits })
    expect([output.stdout, output.limitsMode]).toEqual(['1048576\n', 'rlimit'])
    const tail = await run(plain, { argv: ['tail', '/dev/zero'], limits: { memoryBytes: memory } })
    expect([tail.outcome, tail.output.limitsMode]).toEqual(['failed', 'rlimit'])
  })

  test.skipIf(!hasPrlimit)('pids is refused where the kernel would not hold it', async () => {
    const limits = { pids: 9999 }
    const { stage, error, output } = await run(plain, {
      argv: sh('ulimit -u || ulimit -p'),
      limits,
    })
    if (isRoot) {
      expect([stage, error?.code]).toEqual(['start', 'LIMITS_UNAVAILABLE'])
      expect(error?.message).toContain('no cgroup here to hold it')
    } else expect(output.stdout).toBe('9999\n')
  })
})

describe('the places of this process in the hierarchies', () => {
  const mounts = [
    '30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    '31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    '32 24 0:28 /docker/abc /sys/fs/cgroup/pids\\040x rw - cgroup cgroup rw,pids',
    '33 24 0:29 / /proc rw - proc proc rw',
  ].join('\n')

  test('are read from what is mounted, and from where it is in each', () => {
    const cgroup = '5:pids:/docker/abc/in\n4:memory:/a/b\n0::/user.slice/u\n'
    expect(cgroupPlaces(mounts, cgroup)).toEqual({
      unified: '/sys/fs/cgroup/unified/user.slice/u',
      memory: '/sys/fs/cgroup/memory/a/b',
      pids: '/sys/fs/cgroup/pids x/in',
    })
  })

  test('that are outside of what is mounted are none', () => {
    expect(cgroupPlaces(mounts, '5:pids:/elsewhere\n')).toEqual({})
    expect(cgroupPlaces('', '')).toEqual({})
  })
})

describe('much output', () => {
  const size = 3 * 2 ** 20
  const argv = sh(`head -c ${size} /dev/zero | tr '\\0' x; echo; echo last >&2`)

  test('is kept beyond the memory, and nothing is left of it in the directory', async () => {
    const spillDir = join(dir, 'spill')
    const own = commandExecutor({ log: silent, spillDir })
    await own.start()
    const { outcome, output } = await run(own, { argv, limits: { outputBytes: 4 * 2 ** 20 } })
    await own.stop()
    expect([outcome, output.stdout.length, output.truncated]).toEqual(['ok', size + 1, false])
    expect(output.stdout.endsWith('xx\n')).toBe(true)
    expect([...new Bun.Glob('*').scanSync({ cwd: spillDir })]).toEqual([])
  })

  test('is cut at outputBytes, and counted all the same', async () => {
    const { output } = await run(auto, { argv, limits: { outputBytes: 2 * 2 ** 20 } })
    expect([output.stdout.length, output.truncated, output.stdoutBytes]).toEqual([
      2 * 2 ** 20,
      true,
      size + 1,
    ])
  })

  test('that finds no room fails, says so, and keeps what it has', async () => {
    const spillDir = join(dir, 'full', 'spill')
    // A file where the directory should be: as little room as on a full disk, for root too.
    mkdirSync(join(dir, 'full'))
    await Bun.write(spillDir, '')
    const own = commandExecutor({ log: silent, spillDir })
    await own.start()
    const { outcome, stage, error, output } = await run(own, {
      argv,
      limits: { outputBytes: 4 * 2 ** 20 },
    })
    await own.stop()
    expect([outcome, stage, error?.code]).toEqual(['failed', 'run', 'EEXIST'])
    expect(error?.message).toContain('its output could not be kept')
    expect([output.exitCode, output.stdout.length, output.truncated]).toEqual([0, 2 ** 20, true])
  })
})
