/**
 * Each limit in each place where a task can run: held, refused, or its holder told. What binds on
 * this machine alone is tried in command-limits, container and container-modes.
 */
import { afterAll, describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { containerInput } from '../../actors/container-input.ts'
import { type ExecLimits, execInput } from '../../actors/exec-input.ts'
import { builtInHandlers } from '../../runtime/execute/built-in.ts'
import { Cgroups, type Hierarchy, setLimits } from '../../runtime/execute/cgroups.ts'
import { httpInput } from '../../runtime/execute/http/body-pattern.ts'
import { planLimits, rlimitPrefix } from '../../runtime/execute/limits.ts'
import { sshExecutor } from '../../runtime/execute/ssh.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { commandRunner, contextOf, sh, silent } from './command-runner.ts'
import { containerRunner } from './container-runner.ts'

const memory = 64 * 2 ** 20
const hasPrlimit = Bun.which('prlimit') !== null
if (!hasPrlimit) console.log('skipped: limits that bind, because prlimit is not installed')

const two = (...holds: Hierarchy['holds'][number][]): Hierarchy => ({
  base: '/two',
  outside: '/',
  version: 2,
  holds,
})
const one = (...holds: Hierarchy['holds'][number][]): Hierarchy => ({
  base: `/one-${holds.join()}`,
  outside: '/',
  version: 1,
  holds,
})

describe('who holds which limit of a command', () => {
  const everything = { memoryBytes: memory, pids: 5, cpuSeconds: 2, outputBytes: 1 }
  const tree = { memoryBytes: memory, pids: 5 }
  test.each<[string, Hierarchy[], ExecLimits, string, ExecLimits, ExecLimits]>([
    ['version 2', [two('memory', 'pids')], tree, 'cgroup2', tree, {}],
    ['version 2', [two('memory', 'pids')], everything, 'cgroup2+rlimit', tree, { cpuSeconds: 2 }],
    ['version 1', [one('memory'), one('pids')], tree, 'cgroup1', tree, {}],
    ['version 1', [one('memory'), one('pids')], { pids: 5 }, 'cgroup1', { pids: 5 }, {}],
    // Half of it by a cgroup would be told as all of it.
    ['only memory', [two('memory')], tree, 'rlimit', {}, tree],
    ['only memory', [two('memory')], { memoryBytes: 9 }, 'cgroup2', { memoryBytes: 9 }, {}],
    ['none', [], tree, 'rlimit', {}, tree],
    ['none', [], { cpuSeconds: 2 }, 'rlimit', {}, { cpuSeconds: 2 }],
    ['any', [two('memory', 'pids')], { outputBytes: 1 }, 'none', {}, {}],
  ])('with cgroups of %s', (_, hierarchies, limits, mode, byCgroup, byRlimit) => {
    const plan = planLimits(limits, new Cgroups(hierarchies))
    expect(plan as unknown).toEqual({ mode, byCgroup, byRlimit })
  })

  test('rlimits are set for each, or refused', () => {
    const limits = { memoryBytes: memory, cpuSeconds: 2, pids: 5 }
    const words = rlimitPrefix(limits, { prlimit: '/p', isRoot: false })
    expect(words).toEqual(['/p', '--core=0', `--as=${memory}`, '--cpu=2:3', '--nproc=5', '--'])
    for (const name of ['memoryBytes', 'cpuSeconds', 'pids'] as const) {
      const none = { prlimit: null, isRoot: false }
      expect(() => rlimitPrefix({ [name]: limits[name] }, none)).toThrow('"prlimit"')
    }
  })

  test.each([
    [2, { 'memory.max': `${memory}`, 'pids.max': '5', 'memory.swap.max': '0' }],
    [
      1,
      {
        'memory.limit_in_bytes': `${memory}`,
        'memory.memsw.limit_in_bytes': `${memory}`,
        'pids.max': '5',
      },
    ],
  ] as const)(
    'a cgroup of version %i gets the numbers, and swap is no way out',
    (version, files) => {
      const directory = temporaryDirectory()
      for (const name of Object.keys(files)) writeFileSync(join(directory, name), 'max')
      setLimits(
        directory,
        { base: '', outside: '', version, holds: ['memory', 'pids'] },
        { ...tree },
      )
      const found = readdirSync(directory).map((name) => [
        name,
        readFileSync(join(directory, name), 'utf8'),
      ])
      expect(Object.fromEntries(found)).toEqual({ ...files })
    },
  )
})

describe('on a host reached by ssh', () => {
  test.each(['memoryBytes', 'cpuSeconds', 'pids'])('%s is refused by its name', async (name) => {
    const ssh = sshExecutor({
      command: { start: async () => {}, stop: async () => {}, run: () => ({ outcome: 'ok' }) },
      addresses: new Map(),
      perHost: 1,
      connectMs: 100,
      log: silent,
    })
    const input = { argv: ['true'], limits: { [name]: 5, outputBytes: 5 } }
    const { stage, error } = await ssh.run({ input }, { ...contextOf(), host: 'h' })
    expect([stage, error?.code]).toEqual(['terminal', 'LIMITS_UNAVAILABLE'])
    expect(error?.message).toBe(`limits.${name}: expected none for a host reached by ssh`)
  })
})

describe('without containers', () => {
  const runner = containerRunner({ mode: 'host' })
  afterAll(() => runner.stop())
  const run = async (argv: string[], limits: ExecLimits) => {
    await runner.start()
    return runner.run({ image: 'any', argv, limits })
  }

  test.skipIf(!hasPrlimit)(
    'limits bind, or are refused',
    async () => {
      const big = await run(['tail', '/dev/zero'], { memoryBytes: memory })
      expect([big.outcome, big.output.limitsMode]).toEqual([
        'failed',
        expect.stringMatching(/^(rlimit|cgroup[12])$/),
      ])
      const long = await run(sh('while :; do :; done'), { cpuSeconds: 1 })
      expect(long.error?.code).toMatch(/^(SIGNAL|EXIT)$/)
      expect(long.output.limitsMode).toBe('rlimit')
      const many = await run(sh('for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'), { pids: 4 })
      expect(many.outcome).toBe('failed')
      if (many.error?.code !== 'LIMITS_UNAVAILABLE') expect(many.output.limitsMode).not.toBe('none')
      const loud = await run(['echo', 'abc'], { outputBytes: 2 })
      expect(loud.output).toMatchObject({ stdout: 'ab', truncated: true, limitsMode: 'none' })
    },
    30_000,
  )
})

describe('limits of another kind', () => {
  const problemOf = (parsed: { error?: { issues: { path: PropertyKey[]; message: string }[] } }) =>
    parsed.error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join()

  test('are unknown fields, and told as such', () => {
    const given = { limits: { memoryBytes: 1 } }
    expect(problemOf(httpInput.safeParse({ url: 'http://a/', ...given }))).toContain('limits')
    for (const { kind, input } of builtInHandlers) {
      const parsed = input.safeParse({ ...(kind === 'sleep' && { ms: 1 }), ...given })
      expect([kind, problemOf(parsed)]).toEqual([kind, expect.stringContaining('"limits"')])
    }
    const container = { root: '/r', argv: ['true'] }
    expect(problemOf(containerInput.safeParse({ ...container, stallMs: 5 }))).toContain('"stallMs"')
    const wide = { ...container, limits: { cores: 2 } }
    expect(problemOf(containerInput.safeParse(wide))).toContain('limits: ')
    expect(problemOf(execInput.safeParse({ argv: ['true'], limits: { cores: 2 } }))).toContain(
      '"cores"',
    )
  })

  test.each(['memoryBytes', 'cpuSeconds', 'pids', 'outputBytes'])(
    '%s that is no amount is refused with its place',
    (name) => {
      for (const value of [-1, 1.5, '5', null, Number.POSITIVE_INFINITY]) {
        const parsed = execInput.safeParse({ argv: ['true'], limits: { [name]: value } })
        expect(problemOf(parsed)).toStartWith(`limits.${name}: `)
      }
    },
  )
})

test('silence is ended on this machine, told with its limit', async () => {
  const { start, stop, exec } = commandRunner()
  await start()
  const { outcome, error } = await exec({ argv: ['sleep', '60'], stallMs: 300 })
  await stop()
  expect([outcome, error?.code]).toEqual(['timeout', 'STALLED'])
  expect(error?.message).toContain('no output for 300 ms')
})
