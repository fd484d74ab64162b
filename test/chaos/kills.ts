/** Processes that are killed: at each named point, at random moments, and again and again. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { CrashRole } from '../kit/crash-plans.ts'
import { eventually } from '../kit/eventually.ts'
import { isAlive } from '../kit/processes.ts'
import type { Random } from '../kit/random.ts'
import {
  Arena,
  effectLine,
  type Line,
  mixture,
  type NodeWish,
  shortLocks,
  textOf,
} from './arena.ts'
import { also, type Row, someTime, type Trial, trial } from './row.ts'

const both = (...points: string[]) =>
  points.flatMap((point) => [`${point}:before`, `${point}:after`])

const workerPoints = [
  'fetch:after',
  ...both('effect', 'add', 'ack', 'note'),
  'renew:before',
  'renew:after',
]
const dispatcherPoints = both('open', 'reserve', 'add', 'commit', 'drop', 'finish')
const collectorPoints = [
  'fetch:after',
  ...both('settle', 'put', 'audit', 'finish', 'ack'),
  'put:inside',
  'audit:torn',
]
const commandPoints = [
  ...new Set([...dispatcherPoints, ...collectorPoints, ...both('effect', 'note')]),
]

/** What a short run of a dispatcher has but one of. */
const rare = /^(open|commit|finish)/
const nthOf = (random: Random, point: string, most = 2) =>
  rare.test(point) || point.startsWith('renew') ? 1 : random.integer(1, most)

const pick = <Item>(items: readonly Item[], index: number): Item =>
  items[index % items.length] as Item

/** Slow ones, so that their locks are renewed; and enough that something is spooled. */
function workload(random: Random, point = ''): Line[] {
  const lines = mixture(random, 300)
  if (point.startsWith('renew'))
    lines.splice(5, 0, effectLine({ ms: 900 }), effectLine({ ms: 900 }))
  return lines
}

/** So little room that most is spooled. */
const narrow = {
  MUSTER_DISPATCHER_QUEUE_MAX: '60',
  MUSTER_DISPATCHER_RATE: '800',
  MUSTER_DISPATCHER_BURST: '60',
}

interface Killing {
  /** Nodes that stand beside. */
  others: readonly NodeWish[]
  victim: NodeWish & { id: string }
}

const whole: Killing = { others: [], victim: { id: 'a', processes: 2 } }
const dispatching: Killing = {
  others: [{ id: 'w', words: ['--role', 'worker,collector'] }],
  victim: { id: 'd', words: ['--role', 'dispatcher'] },
}
const collecting: Killing = {
  others: [{ id: 'w', words: ['--role', 'worker,dispatcher'] }],
  victim: { id: 'c', words: ['--role', 'collector'] },
}

/** A worker process: its node starts another one. */
async function workerKilled(random: Random, point?: string): Promise<Trial> {
  const arena = new Arena(point?.startsWith('renew') === true ? { env: shortLocks } : {})
  try {
    await arena.start({ processes: 2 })
    if (point !== undefined) arena.plans.arm('worker', point, nthOf(random, point, 3))
    await arena.submit(workload(random, point))
    let at = Date.now()
    if (point === undefined) {
      await someTime(random, 0, 700)
      process.kill(random.pick(await arena.workers()), 'SIGKILL')
      at = Date.now()
    }
    const verdict = await arena.verdict({ mayRepeat: true })
    const firedAt = point === undefined ? at : arena.plans.disarm('worker')
    const ms = firedAt === undefined ? [] : [Math.max(0, Date.now() - firedAt)]
    return also(trial(verdict, ms), [firedAt === undefined && `no worker came to ${point}`])
  } finally {
    await arena.close()
  }
}

/** A node: it is started again, and so is what was not accepted. */
async function nodeKilled(random: Random, { others, victim }: Killing, point?: string) {
  const arena = new Arena({ env: narrow })
  try {
    for (const other of others) await arena.start({ ...other, env: { CRASH_ROLE: 'bystander' } })
    let node = await arena.start(victim)
    const asked = others.find(({ words }) => words?.[1]?.includes('dispatcher'))?.id ?? victim.id
    if (point !== undefined) arena.plans.arm('node', point, nthOf(random, point))
    const lines = workload(random)
    const headers = { 'idempotency-key': `k${random.integer(0, 1e9)}` }
    const submitting = arena.submit(lines, asked, headers).catch(() => undefined)
    if (point === undefined) {
      await someTime(random, 0, 700)
      await node.kill('SIGKILL')
    }
    const isOver = async () => {
      const accepted = await submitting
      if (accepted === undefined) return false
      const runs = await arena.over(100, asked).catch(() => [])
      return runs.length > 0 && runs.every(({ finishedAt }) => finishedAt !== undefined)
    }
    let at: number | undefined
    await eventually(
      async () => {
        if (isAlive(node.pid) && !(await isOver())) throw new Error('neither dead nor done')
      },
      { timeoutMs: 30_000 },
    )
    if (!isAlive(node.pid)) {
      at = arena.plans.firedAt('node') ?? Date.now()
      await node.ended
      arena.plans.disarm('node')
      node = await arena.start(victim)
      // The same again: what was accepted is known, the rest is taken now.
      if ((await submitting) === undefined) {
        await eventually(() => arena.submit(lines, asked, headers))
      }
    }
    const verdict = await arena.verdict({ mayRepeat: true, id: asked })
    const ms = at === undefined ? [] : [Date.now() - at]
    return also(trial(verdict, ms), [at === undefined && `the node never came to ${point}`])
  } finally {
    await arena.close()
  }
}

/** A command that works alone: the same command goes on. */
async function commandKilled(random: Random, point?: string): Promise<Trial> {
  const arena = new Arena({ env: narrow })
  try {
    const lines = workload(random)
    const file = join(arena.dataDir, 'tasks.ndjson')
    writeFileSync(file, textOf(lines))
    const words = ['run', file, '--json', '--tasks', join(import.meta.dir, 'tasks.ts')]
    if (point !== undefined) arena.plans.arm('cli', point, nthOf(random, point))
    const killed = arena.command(words)
    if (point === undefined) {
      await someTime(random, 500, 2000)
      void killed.kill('SIGKILL')
    }
    const first = await killed.ended
    const at = arena.plans.disarm('cli') ?? Date.now()
    const last = first.code === 137 ? await arena.command(words).ended : first
    const ms = Date.now() - at
    const run = last.out.startsWith('{') ? (JSON.parse(last.out) as Run) : undefined
    if (run === undefined) throw new Error(`it ended with ${last.code}: ${last.err}`)
    arena.expect(run.id, lines)
    // A node, for the API; of the command nothing runs any more.
    await arena.start()
    const verdict = await arena.verdict({ mayRepeat: true })
    return also(trial(verdict, first.code === 137 ? [ms] : []), [
      point !== undefined && first.code !== 137 && `the command never came to ${point}`,
    ])
  } finally {
    await arena.close()
  }
}

/** A client in mid-stream: the same command feeds the rest to the same run. */
async function clientKilled(random: Random): Promise<Trial> {
  const arena = new Arena({ env: { MUSTER_DISPATCHER_SPOOL_MAX: '200', ...narrow } })
  try {
    await arena.start()
    const lines = mixture(random, 1200)
    const file = join(arena.dataDir, 'tasks.ndjson')
    writeFileSync(file, textOf(lines))
    const words = ['submit', file]
    const killed = arena.command(words)
    await someTime(random, 200, 1500)
    await killed.kill('SIGKILL')
    const at = Date.now()
    const { code, out, err } = await arena.command(words).ended
    if (code !== 0) throw new Error(`submit ended with ${code}: ${err}`)
    arena.expect(out.trim(), lines)
    const verdict = await arena.verdict({ mayRepeat: false })
    const { items } = await arena.get<{ items: Run[] }>('/v1/runs')
    return also(trial(verdict, [Date.now() - at]), [
      // A run that had been accepted whole and was over before is done anew.
      items.length > 1 && items[1]?.total !== lines.length && `${items.length} runs of one source`,
    ])
  } finally {
    await arena.close()
  }
}

const pointRows: readonly (readonly [
  string,
  string,
  CrashRole,
  readonly string[],
  (random: Random, point?: string) => Promise<Trial>,
])[] = [
  ['worker', 'worker process', 'worker', workerPoints, workerKilled],
  [
    'dispatcher',
    'dispatcher',
    'node',
    dispatcherPoints,
    (random, point) => nodeKilled(random, dispatching, point),
  ],
  [
    'collector',
    'collector',
    'node',
    collectorPoints,
    (random, point) => nodeKilled(random, collecting, point),
  ],
  ['command', '`muster run` that works alone', 'cli', commandPoints, commandKilled],
]

export const kills: Row[] = [
  ...pointRows.flatMap(([name, title, , points, killed]): Row[] => [
    {
      name: `${name}-points`,
      fault: `kill -9 of the ${title} at each of ${points.length} named points`,
      seeds: Math.max(20, points.length),
      run: (random, index) => killed(random, pick(points, index)),
    },
    {
      name: `${name}-moments`,
      fault: `kill -9 of the ${title} at a random moment`,
      seeds: 20,
      run: (random) => killed(random),
    },
  ]),
  {
    name: 'node-moments',
    fault: 'kill -9 of a node with its 2 worker processes at a random moment',
    seeds: 20,
    run: (random) => nodeKilled(random, whole),
  },
  {
    name: 'client-moments',
    fault: 'kill -9 of `muster submit` in mid-stream',
    seeds: 20,
    run: clientKilled,
  },
]
