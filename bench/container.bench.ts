/**
 * How long does a task wait for a clean container? A warm checkout, the reset after a program that
 * wrote files included; and a whole program in a container, against `podman exec` into one that
 * runs and `podman run` of one for it, in turns. Podman is a real one, with a store of its own, and
 * left out with the reason where it does not run.
 *
 *   bun bench/container.bench.ts [--quick] [--json]
 */
import { type AnyActorRef, createActor } from 'xstate'
import { SandboxPool } from '../actors/pool.ts'
import type { SandboxBase } from '../actors/ports-sandbox.ts'
import { runSubprocess } from '../actors/subprocess.ts'
import { systemClock } from '../runtime/clock.ts'
import { namespaceSandboxes } from '../runtime/execute/container/namespace.ts'
import { becomeOwner } from '../runtime/execute/container/owner.ts'
import { startPodman } from '../test/kit/podman.ts'
import { makeRoot, rootProblem } from '../test/kit/rootfs.ts'
import { median, percentile } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const checkouts = options.isQuick ? 200 : 2000
const programs = options.isQuick ? 10 : 60
const warmUps = 20
const log = { debug() {}, info() {}, warn() {}, error() {} }
const faults = new Set<string>()
const never = new AbortController().signal
const times = { softKillMs: 60_000, hardKillMs: 60_000, drainMs: 200, reapMs: 5000 }

const problem = rootProblem()
if (problem !== undefined) {
  say(`skipped: ${problem}`)
  process.exit(0)
}
const base: SandboxBase = { root: makeRoot(), network: 'none', limits: {} }
const owner = becomeOwner()
const sandboxes = namespaceSandboxes({ owner, scratchBytes: 64 * 1024 * 1024, log })
const pool = new SandboxPool({
  sandboxes,
  // One, so that the next checkout has to wait for the reset of the last.
  slotsMax: 1,
  isReused: true,
  checkoutTimeoutMs: 60_000,
  clock: systemClock,
  tell: (to: AnyActorRef, event) => to.send(event),
  log,
})
const { logic, input } = pool.spec()
const actor = createActor(logic, { input })
actor.start()
const podman = startPodman()
if (typeof podman === 'string') say(`Podman is left out: ${podman}`)

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

/** Ends with the lease given back; what it waited for is the reset of the one before it. */
async function inContainer(argv: readonly string[]): Promise<number> {
  const begun = performance.now()
  const lease = await pool.checkout(base, never)
  const waitedMs = performance.now() - begun
  const program = lease.sandbox.prepare({ ...base, argv, env: {} })
  const { exit, failure } = await runSubprocess(program.processes, program.command, {
    times,
    outputBytesMax: 65_536,
    signals: [],
    clock: systemClock,
  })
  program.close()
  lease.giveBack(false)
  if (exit?.exitCode !== 0) {
    faults.add(`in a container: ${failure?.message ?? `ended with ${exit?.exitCode}`}`)
  }
  return waitedMs
}

async function byPodman(...words: string[]): Promise<void> {
  if (typeof podman === 'string') return
  const child = Bun.spawn([podman.program, ...words], { stdout: 'ignore', stderr: 'ignore' })
  if ((await child.exited) !== 0) faults.add(`podman ${words[0]}: ended with ${child.exitCode}`)
}

/** As a task leaves it: a hundred files and directories. It fails where it finds any. */
const script = `
mkdir /work
for i in 0 1 2 3 4 5 6 7 8 9; do
  mkdir /work/$i
  for k in 0 1 2 3 4 5 6 7 8; do echo $k > /work/$i/$k; done
done
test ! -e /left && touch /left`
const writing = ['sh', '-c', script]

const figures: Record<string, number[]> = { checkout: [], container: [], exec: [], run: [] }
try {
  for (let round = 0; round < warmUps; round += 1) await inContainer(['true'])
  for (let round = 0; round < checkouts; round += 1) {
    figures['checkout']?.push(await inContainer(writing))
  }
  if (typeof podman !== 'string') {
    await byPodman(
      'run',
      '-d',
      '--network',
      'none',
      '--name',
      'warm',
      podman.image,
      'sleep',
      '9999',
    )
  }
  for (let round = 0; round < programs; round += 1) {
    figures['container']?.push(await timed(() => inContainer(['true'])))
    if (typeof podman === 'string') continue
    figures['exec']?.push(await timed(() => byPodman('exec', 'warm', 'true')))
    const words = ['run', '--rm', '--network', 'none', podman.image, 'true']
    figures['run']?.push(await timed(() => byPodman(...words)))
  }
} finally {
  actor.stop()
  await sandboxes.close()
  owner.release()
  if (typeof podman !== 'string') podman.remove()
}

const titles = {
  checkout: 'warm checkout, reset included',
  container: '`true` in a container of Muster, checkout and reset included',
  exec: '`podman exec` of `true`, nothing reset',
  run: '`podman run --rm` of `true`',
}
const rows = Object.entries(titles).flatMap(([key, what]): Row[] => {
  const all = figures[key] ?? []
  if (all.length === 0) return []
  return [{ what, times: all.length, p50: median(all), p99: percentile(all, 0.99) }]
})
const against = (key: string) => median(figures[key] ?? []) / median(figures['container'] ?? [])
await publish(
  {
    bench: 'container',
    columns: [
      { key: 'what', title: 'what' },
      { key: 'times', title: 'times' },
      { key: 'p50', title: 'p50', digits: 2, unit: 'ms' },
      { key: 'p99', title: 'p99', digits: 2, unit: 'ms' },
    ],
    rows,
    ratios:
      typeof podman === 'string'
        ? {}
        : { 'podman exec ÷ Muster': against('exec'), 'podman run ÷ Muster': against('run') },
    notes: ['each container had a hundred new files to forget; one slot, so that resets show'],
    faults: [...faults],
  },
  options,
)
