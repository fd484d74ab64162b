/**
 * Many commands one after the other and side by side, started by the main thread and by threads:
 * nothing may be left of any. 1000 of them always; SOAK_COMMANDS in the environment: so many
 * (100000 is what the kind was built for).
 */
import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import type { Executor } from '../../actors/ports.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { commandCrew } from '../../runtime/execute/crew/crew.ts'
import { eventually } from '../kit/eventually.ts'
import { basesForThreads, contextOf, sh, silent } from './command-runner.ts'

const total = Number(process.env['SOAK_COMMANDS'] ?? 1000)
const isLinux = process.platform === 'linux'
if (!isLinux) console.log('skipped: what many commands leave behind, which /proc tells')
const hasThreads = (await basesForThreads()).length > 0

const descriptors = () => readdirSync('/proc/self/fd').length
const residentMiB = () => process.memoryUsage.rss() / 2 ** 20

/** Of any thread. */
function children(): string[] {
  return readdirSync('/proc/self/task').flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean),
  )
}

const inputs = [
  { argv: ['true'] },
  { argv: ['no-such-program'] },
  { argv: ['cat'], stdin: 'text' },
  { argv: sh('sleep 60 & exit 3') },
  { argv: ['echo', 'limited'], limits: { memoryBytes: 2 ** 28 } },
]

async function soak(executor: Executor): Promise<void> {
  await executor.start()
  let begun = 0
  let ok = 0
  const runTo = async (count: number, lanes: number) => {
    const lane = async () => {
      while (begun < count) {
        begun += 1
        const input = inputs[begun % inputs.length]
        if ((await executor.run({ input }, contextOf())).outcome === 'ok') ok += 1
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    Bun.gc(true)
  }
  // What is kept for the next commands is as much as the most had that ran at once.
  await runTo(total / 5, 16)
  const counts = () => ({ descriptors: descriptors(), children: children(), memory: residentMiB() })
  const before = counts()
  await runTo(total, 4)
  await eventually(() => {
    expect(children().toSorted()).toEqual(before.children.toSorted())
    expect(descriptors()).toBeLessThanOrEqual(before.descriptors)
  })
  const now = counts()
  if (process.env['SOAK_COMMANDS'] !== undefined) console.log({ begun, ok, before, now })
  expect(begun).toBeGreaterThanOrEqual(total)
  expect(ok).toBeWithin(Math.floor((total * 3) / 5) - 5, Math.ceil((total * 3) / 5) + 18)
  expect(now.memory - before.memory).toBeLessThan(64)
  await executor.stop()
}

test.skipIf(!isLinux)(
  `${total} commands leave no zombie, no descriptor and no memory behind`,
  () => soak(commandExecutor({ log: silent })),
  60_000 + total * 30,
)

test.skipIf(!hasThreads)(
  `nor do ${total} that threads start`,
  () => soak(commandCrew({ threads: 2, commandsBefore: 5, log: silent })),
  60_000 + total * 30,
)
