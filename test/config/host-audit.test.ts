/**
 * The shipped host audit, run for real on the machine of the tests: once as it is, once with a PATH
 * that holds nothing but sh. What the checks say depends on the machine; how they say it does not.
 *
 * Runs alone: it measures how long they take.
 */
import { beforeAll, describe, expect, test } from 'bun:test'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

const areas = [
  'kernel',
  'users',
  'files',
  'ssh',
  'network',
  'services',
  'storage',
  'limits',
  'time',
  'packages',
] as const

const checkLine = z.strictObject({
  kind: z.literal('exec'),
  id: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
  input: z.strictObject({ argv: z.tuple([z.literal('sh'), z.literal('-c'), z.string().min(1)]) }),
  labels: z.strictObject({ check: z.string().min(1), area: z.enum(areas) }),
  timeoutMs: z.int().min(1000).max(30_000),
})
type Check = z.infer<typeof checkLine>

interface Verdict {
  id: string
  exitCode: number | null
  stdout: string
  stderr: string
  durationMs: number
}

const file = new URL('../../config/tasks/host-audit.ndjson', import.meta.url).pathname
const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
const checks = lines.map((line): Check => checkLine.parse(JSON.parse(line)))

describe('the host audit file', () => {
  test('has at least 36 checks, each with an id and a title of its own', () => {
    expect(checks.length).toBeGreaterThanOrEqual(36)
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length)
    expect(new Set(checks.map(({ labels }) => labels.check)).size).toBe(checks.length)
  })

  test('goes area by area', () => {
    const order = checks.map(({ labels }) => areas.indexOf(labels.area))
    expect(order).toEqual(order.toSorted((a, b) => a - b))
    expect(new Set(order).size).toBe(areas.length)
  })

  test('holds only scripts that every shell here can parse', async () => {
    const shells = ['sh', 'dash', 'bash'].filter((shell) => Bun.which(shell))
    for (const shell of shells) {
      const said = await inTurns(checks, async (check) => {
        const parser = Bun.spawn([shell, '-n', '-c', check.input.argv[2]], { stderr: 'pipe' })
        const stderr = await new Response(parser.stderr).text()
        return { id: check.id, exitCode: await parser.exited, stderr }
      })
      expect(said.filter(({ exitCode, stderr }) => exitCode !== 0 || stderr !== '')).toEqual([])
    }
  })
})

describe('on this machine', () => {
  let verdicts: Verdict[] = []
  beforeAll(async () => {
    // What the disk takes to be read for the first time is its own affair, and no check's.
    await Bun.spawn(['find', '/usr', '/etc', '-xdev', '-perm', '-7777'], { stdout: 'ignore' })
      .exited
    verdicts = await inTurns(checks, (check) => run(check, process.env))
  })

  test('every check comes to a verdict and is silent on stderr', () => {
    expect(verdicts.filter((verdict) => !isVerdict(verdict))).toEqual([])
  })

  test('every check takes less than five seconds', () => {
    expect(verdicts.filter(({ durationMs }) => durationMs >= 5000)).toEqual([])
  })

  test('no check prints more than a screen', () => {
    expect(verdicts.filter(({ stdout }) => stdout.split('\n').length > 40)).toEqual([])
  })

  test('a setting of several digits is read whole', async () => {
    const processIdsMax = readFileSync('/proc/sys/kernel/pid_max', 'utf8').trim()
    const verdict = await run(checkOf('process-ids'), process.env)
    expect(verdict.stdout).toContain(` ${processIdsMax} process ids`)
  })
})

describe('with nothing in PATH but sh', () => {
  test('every check still comes to a verdict', async () => {
    const directory = temporaryDirectory()
    symlinkSync(Bun.which('sh') ?? '/bin/sh', join(directory, 'sh'))
    const environment = { ...process.env, PATH: directory }
    const verdicts = await inTurns(checks, (check) => run(check, environment))
    expect(verdicts.filter((verdict) => !isVerdict(verdict))).toEqual([])
    expect(verdicts.filter(({ stdout }) => stdout.startsWith('skipped:')).length).toBeGreaterThan(9)
  })
})

describe('a check finds what is wrong', () => {
  test.each([
    ['a relative directory', 'planted', 'finding: others can plant programs in PATH\n  planted is'],
    ['an empty entry', '', 'finding: PATH has an empty entry'],
  ])('in PATH: %s', async (_fact, entry, expected) => {
    const environment = { ...process.env, PATH: `${process.env['PATH']}:${entry}` }
    const verdict = await run(checkOf('search-path'), environment)
    expect(verdict).toMatchObject({ exitCode: 1, stderr: '' })
    expect(verdict.stdout).toStartWith(expected)
  })

  test('among the processes: a zombie', async () => {
    // The shell leaves its place to a program that never asks for the child it was left with.
    const parent = Bun.spawn(['sh', '-c', 'sleep 0.2 & exec tail -f /dev/null'])
    try {
      await eventually(async () => {
        const { stdout } = await run(checkOf('zombie-processes'), process.env)
        expect(stdout).toMatch(/^finding: zombies that nobody collects\n {2}\d+ \S+/)
      })
    } finally {
      parent.kill('SIGKILL')
      await parent.exited
    }
  })
})

/** Exit code 0 or 1, 1 for a finding and for nothing else, and a first word that says which. */
function isVerdict({ exitCode, stdout, stderr }: Verdict): boolean {
  const word = /^(pass|fact|finding|skipped): \S/.exec(stdout)?.[1]
  return word !== undefined && exitCode === (word === 'finding' ? 1 : 0) && stderr === ''
}

function checkOf(id: string): Check {
  const found = checks.find((check) => check.id === id)
  if (!found) throw new Error(`expected a check named ${id} in ${file}`)
  return found
}

async function run(check: Check, env: NodeJS.ProcessEnv): Promise<Verdict> {
  const startedAt = performance.now()
  const child = Bun.spawn(check.input.argv, {
    env,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    detached: true,
  })
  // With all that its shell has started.
  const end = () => {
    // Gone may only be those of its group.
    if (child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
  }
  const timer = setTimeout(end, check.timeoutMs)
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  await child.exited
  clearTimeout(timer)
  const durationMs = performance.now() - startedAt
  return { id: check.id, exitCode: child.exitCode, stdout, stderr, durationMs }
}

/** Two at a time: the audit's own load must not decide what it finds. */
async function inTurns<T>(all: readonly Check[], work: (check: Check) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  const waiting = all.entries()
  const turn = async (): Promise<void> => {
    for (const [index, check] of waiting) results[index] = await work(check)
  }
  await Promise.all([turn(), turn()])
  return results
}
