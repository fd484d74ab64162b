/**
 * What becomes of the work of a node that is cut off with mailboxes of its own: its share of
 * balanced tasks, and its shards. Each node, and Redis, on a network of its own.
 */
import { afterEach, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { effectLine, type Line, textOf } from '../chaos/arena.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { shortTerms } from '../kit/fleet.ts'
import { countRows } from '../kit/ledger.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { type Network, namespaceProblem, startNetwork } from '../kit/namespaces.ts'
import { type Effect, judge, readEffects } from '../kit/oracle.ts'
import { type Random, seededRandom } from '../kit/random.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'

const problem = await namespaceProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

type Node = MusterProcess & { url: string }

const ids = ['a', 'b', 'c'] as const
type Id = (typeof ids)[number]
const shards = 12
const env = {
  ...shortTerms,
  // So long that only those lose one who are cut off, however busy this machine is.
  MUSTER_MAILBOX_LOCK_MS: '8000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '1000',
  MUSTER_MEMBER_HEARTBEAT_MS: '500',
  MUSTER_MEMBER_STALE_MS: '3000',
  MUSTER_MAILBOX_SHARDS: String(shards),
  // Many small envelopes, few of them at hand, the rest waiting in the mailboxes of the nodes.
  MUSTER_WORKER_CONCURRENCY: '8',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '10',
}

let redis: RedisServer | undefined
let network: Network | undefined
const nodes = new Map<Id, Node>()
afterEach(async () => {
  await Promise.all([...nodes.values()].map((node) => node.kill('SIGKILL')))
  nodes.clear()
  try {
    // It cannot have heard of the end of connections that were cut off.
    await redis?.kill()
    await redis?.stop()
  } finally {
    await network?.remove()
  }
})

class Fleet {
  readonly dataDir = temporaryDirectory()
  readonly effects = join(this.dataDir, 'effects.log')
  readonly net: Network

  constructor(net: Network) {
    this.net = net
  }

  async start(id: Id): Promise<Node> {
    const url = `redis://${this.net.hub.address}:6379`
    const own = { MUSTER_NODE_ID: id, MUSTER_REDIS_URL: url, CHAOS_EFFECTS: this.effects }
    const node = await startMusterNode({
      dataDir: this.dataDir,
      env: { ...env, ...own },
      words: ['--tasks', join(import.meta.dir, '../chaos/tasks.ts')],
      under: this.net.host(id).under,
    })
    nodes.set(id, node)
    return node
  }

  /** What a command says when it is given on the host of a node. */
  async ask(id: Id, words: readonly string[], stdin = ''): Promise<string> {
    const url = nodes.get(id)?.url ?? ''
    const under = this.net.host(id).under
    const asked = await muster([...words, '--url', url], { dataDir: this.dataDir, stdin, under })
    if (asked.code > 3) throw new Error(`${words.join(' ')}: ${asked.code} ${asked.err}`)
    return asked.out
  }

  async submit(id: Id, lines: readonly Line[]): Promise<string> {
    const out = await this.ask(id, ['submit', '-', '--json'], textOf(lines))
    return (JSON.parse(out) as { run: string }).run
  }

  /** The run when it is over. */
  over(id: Id, run: string): Promise<Run> {
    const look = async () => {
      const seen = JSON.parse(await this.ask(id, ['show', run, '--json'])) as Run
      if (seen.finishedAt === undefined) throw new Error(JSON.stringify(seen.counts))
      return seen
    }
    return eventually(look, { timeoutMs: 60_000, intervalMs: 250 })
  }

  async results(id: Id, run: string): Promise<ResultLine[]> {
    const out = await this.ask(id, ['results', run, '--json'])
    const lines = out.trimEnd().split('\n')
    return lines.map((line) => JSON.parse(line) as ResultLine)
  }
}

async function fleetOf(): Promise<Fleet> {
  network = await startNetwork(ids)
  redis = await startRedis({ host: network.hub })
  const fleet = new Fleet(network)
  // One after the other, so that the first one leads.
  for (const id of ids) await fleet.start(id)
  return fleet
}

const balanced = (random: Random): Line =>
  effectLine({ ms: random.integer(30, 150) }, { placement: 'balanced' })
const sharded = (random: Random): Line =>
  effectLine(
    { ms: random.integer(5, 30) },
    {
      placement: 'sharded',
      key: `m-${random.integer(1, 40)}`,
    },
  )

interface Trial {
  victim: Id
  lines: Line[]
  /** Rows of this run at which the cable is pulled out. */
  rows: number
}

/** Cuts one off under load and heals it when all is done; what is wrong with that is thrown. */
async function cutOff(fleet: Fleet, { victim, lines, rows }: Trial): Promise<void> {
  const survivor = victim === 'a' ? 'b' : 'a'
  const zombie = nodes.get(victim)
  if (zombie === undefined) throw new Error(`there is no node ${victim}`)
  const earlier = countRows(fleet.dataDir)
  const done = () => countRows(fleet.dataDir) - earlier
  const submitting = fleet.submit(survivor, lines)
  await eventually(() => expect(done()).toBeGreaterThan(rows), { timeoutMs: 30_000 })
  await fleet.net.cut(victim)
  const cutAt = Date.now()
  const run = await submitting
  expect(done()).toBeLessThan(lines.length - 100)
  const ended = await fleet.over(survivor, run)
  const tookMs = Date.now() - cutAt
  expect(ended).toMatchObject({ state: 'completed', counts: { ok: lines.length, pending: 0 } })
  const before = await fleet.results(survivor, run)
  await fleet.net.heal(victim)
  // It hears that others have its place, and goes.
  const { code } = await zombie.ended
  expect(code).toBe(70)

  const { dataDir, effects } = fleet
  const runs = [{ tasks: lines, run: await fleet.over(survivor, run) }]
  const verdict = judge({ dataDir, effects, runs, mayRepeat: true })
  expect(verdict).toMatchObject({ lost: 0, doubled: 0, disorder: 0, problems: [] })
  // What it had to say when it was back changed nothing.
  expect(await fleet.results(survivor, run)).toEqual(before)
  const mine = readEffects(effects).filter((effect) => effect.run === run)
  const own = new Set(mine.filter(({ pid }) => pid === zombie.pid).map(({ seq }) => seq))
  const again = redone(mine)
  console.log(
    `${victim} cut off with ${rows} rows stored: complete ${tookMs} ms later; of ` +
      `${lines.length} tasks ${own.size} began on it, ${again.size} ran again`,
  )
  expect(own.size).toBeGreaterThan(0)
  // Whatever it never began was handed out exactly once.
  expect([...again].filter((seq) => !own.has(seq))).toEqual([])
  // Nothing that it did while it was cut off counts: it was done again by others.
  const late = before.filter(
    ({ node, startedAt, durationMs }) => node === victim && startedAt + durationMs > cutAt,
  )
  expect(late).toEqual([])
}

/** Seqs that ran more than once. */
function redone(effects: readonly Effect[]): Set<number> {
  const bySeq = Map.groupBy(effects, ({ seq }) => seq)
  return new Set([...bySeq].filter(([, of]) => of.length > 1).map(([seq]) => seq))
}

/** Waits until a node is one of those that work is given to. */
async function isBack(fleet: Fleet, id: Id): Promise<void> {
  await eventually(
    async () => {
      const lines = (await fleet.ask(id, ['nodes', '--json'])).trimEnd().split('\n')
      const known = lines.map((line) => JSON.parse(line) as { id: string; state: string })
      const alive = known.filter(({ state }) => state === 'alive').map((node) => node.id)
      expect(alive.toSorted()).toEqual([...ids])
    },
    { timeoutMs: 15_000, intervalMs: 250 },
  )
}

describe('the work of a node that is cut off', () => {
  test.skipIf(problem !== undefined)(
    'goes to the others, each task once, and what it says later is refused',
    async () => {
      const random = seededRandom()
      const fleet = await fleetOf()
      const victim = random.pick(['b', 'c'] as const)
      await isBack(fleet, victim)
      const mixture = (share: number) =>
        Array.from({ length: 900 }, () =>
          random.chance(share) ? sharded(random) : balanced(random),
        )
      const rows = () => random.integer(50, 150)
      await cutOff(fleet, { victim, lines: mixture(0.3), rows: rows() })

      // Back as a new boot it gets work again. Whoever collects and coordinates is no exception.
      await fleet.start(victim)
      await isBack(fleet, victim)
      await cutOff(fleet, { victim: 'a', lines: mixture(0.3), rows: rows() })
    },
    240_000,
  )
})
