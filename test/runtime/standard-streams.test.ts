/** What a command hears and says can be opened by its name, whoever started it. */
import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Executor } from '../../actors/ports.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { commandCrew } from '../../runtime/execute/crew/crew.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { contextOf, sh, silent } from './command-runner.ts'
import { containerRunner } from './container-runner.ts'

setDefaultTimeout(60_000)
const isLinux = process.platform === 'linux'
if (!isLinux) console.log('skipped: names of standard streams, which are sockets here')
const problem = rootProblem()
if (problem !== undefined) console.log(`skipped, in containers: ${problem}`)
const spillDir = temporaryDirectory()
const closers: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closers) await close()
})

const ran = async (executor: Executor) => {
  await executor.start({} as never)
  closers.push(() => executor.stop())
  return async (input: Record<string, unknown>) => {
    const execution = await executor.run({ input }, contextOf())
    return { ...execution, output: execution.output as ExecOutput }
  }
}

const executors = {
  'a command by itself': () => ran(commandExecutor({ log: silent, spillDir })),
  'a command by a thread': () =>
    ran(commandCrew({ log: silent, spillDir, threads: 1, commandsBefore: 0 })),
  'a program in a container': async () => {
    const runner = containerRunner({ slots: 1 })
    await runner.start()
    closers.push(() => runner.stop())
    const root = makeRoot()
    return (input: Record<string, unknown>) => runner.run({ root, ...input })
  },
}

describe.skipIf(!isLinux).each(Object.entries(executors))('%s', (name, open) => {
  const isSkipped = name.includes('container') && problem !== undefined
  test.skipIf(isSkipped)('opens its streams by their names', async () => {
    const run = await open()
    const says = await run({ argv: sh('echo a > /dev/stdout; echo b > /dev/stderr; echo c >&2') })
    expect([says.outcome, says.output.stdout, says.output.stderr]).toEqual(['ok', 'a\n', 'b\nc\n'])
    for (const stdin of ['heard', 'x'.repeat(1_000_000), '']) {
      const hears = await run({ argv: sh('cat /dev/stdin | wc -c'), stdin })
      expect([hears.outcome, hears.output.stdout.trim()]).toEqual(['ok', String(stdin.length)])
    }
  })

  test.skipIf(isSkipped)('need not read what it is given', async () => {
    const run = await open()
    const stdin = 'x'.repeat(1_000_000)
    const { outcome, output } = await run({ argv: sh('head -c 3; exec <&-; sleep 0.1'), stdin })
    expect([outcome, output.stdout]).toEqual(['ok', 'xxx'])
    expect((await run({ argv: ['true'], stdin })).outcome).toBe('ok')
  })
})

test.skipIf(!isLinux)('of what commands were given to read no descriptor is left', async () => {
  const run = await ran(commandExecutor({ log: silent, spillDir }))
  const ends = () => readdirSync('/proc/self/fd').length
  const lots = async (count: number) => {
    const stdin = 'x'.repeat(100_000)
    const inputs = Array.from({ length: count }, (_, index) =>
      run({ argv: index % 2 === 0 ? ['true'] : sh('cat > /dev/null'), stdin }),
    )
    for (const { outcome } of await Promise.all(inputs)) expect(outcome).toBe('ok')
  }
  await lots(20)
  const before = ends()
  for (let lot = 0; lot < 5; lot += 1) await lots(20)
  await eventually(() => expect(ends()).toBeLessThan(before + 20))
})
