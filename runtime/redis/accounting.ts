/** The accounting port on Redis: run records, outcome maps and spools, changed by Lua alone. */
import { randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { countSeqs, type Envelope, eachSeq } from '../../actors/envelope.ts'
import { ConflictError, NotFoundError } from '../../actors/errors.ts'
import { fenced } from '../../actors/lease.ts'
import type {
  Accounting,
  Chunk,
  OpenRun,
  Run,
  RunNotice,
  RunProgress,
  RunState,
  Settled,
  Settlement,
} from '../../actors/ports.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type { Rejection } from '../../actors/task.ts'
import { noCounts, type Outcome, outcomeCode, outcomeOf, outcomes } from '../../machines/outcome.ts'
import { base, keys } from './keys.ts'
import { Script } from './script.ts'

/** Rejected lines a run remembers; beyond that they are only counted. */
const rejectedKept = 1000

const scripts = {
  open: new Script('open'),
  commit: new Script('commit'),
  settle: new Script('settle'),
  finish: new Script('finish'),
  adopt: new Script('adopt'),
  recount: new Script('recount'),
  drop: new Script('drop'),
}

export interface RedisAccountingOptions {
  redis: Redis
  /** A connection of its own, for notices. */
  subscriber: Redis
  now(): number
  /** How long the outcome map of a finished run is kept, to refuse late duplicates. */
  mapKeepMs: number
}

export function redisAccounting(options: RedisAccountingOptions): Accounting {
  const { redis, subscriber, now, mapKeepMs } = options

  const get = async (run: string): Promise<RunProgress | undefined> => {
    const record = await redis.hgetall(keys.run(run))
    if (record['id'] === undefined) return undefined
    const rejected =
      record['rejected'] === undefined ? [] : await redis.lrange(keys.rejected(run), 0, -1)
    return readProgress(
      record,
      rejected.map((line) => JSON.parse(line) as Rejection),
    )
  }

  const finish = async (
    run: string,
    sourceEnded: boolean,
    ids: readonly string[],
    fence?: FencingToken,
  ): Promise<unknown> => {
    const reply = await scripts.finish.call(
      redis,
      [keys.run(run), keys.map(run), `${keys.run(run)}:storing`, epochKey(fence)],
      [base, keys.notices, run, now(), sourceEnded ? '1' : '0', mapKeepMs, epochOf(fence), ...ids],
    )
    return notFenced(reply, fence)
  }

  const settleOne = async (settlement: Settlement, fence?: FencingToken): Promise<Settled> => {
    const { counts, ranges } = mapBytes(settlement)
    const run = settlement.run
    const reply = await scripts.settle.call(
      redis,
      [
        keys.run(run),
        keys.map(run),
        `${keys.run(run)}:storing`,
        keys.room,
        `${keys.run(run)}:room`,
        epochKey(fence),
      ],
      [settlement.id, settlement.mailbox, keys.notices, run, ...counts, epochOf(fence), ...ranges],
    )
    const [fresh, ...before] = notFenced(reply, fence) as [number, ...string[]]
    if (fresh === -1) return { fresh: 0, outcomes: settlement.outcomes.map(() => undefined) }
    return before.length === 0
      ? { fresh }
      : {
          fresh,
          outcomes: afterwards(
            settlement,
            before.map((hex) => Buffer.from(hex, 'hex')),
          ),
        }
  }

  return {
    async open(run: OpenRun) {
      const record: (string | number)[][] = [
        ['id', run.id],
        ['state', 'accepting'],
        ['createdAt', run.createdAt],
        ['driver', run.driver],
        ['lines', 0],
        ['accepted', 0],
        ['spooled', 0],
        ['done', 0],
        ...(run.reason === undefined ? [] : [['reason', run.reason]]),
        ...(run.fence === undefined ? [] : [['fence', JSON.stringify(run.fence)]]),
        ...(run.parent === undefined ? [] : [['parent', run.parent]]),
        ...(run.labels === undefined ? [] : [['labels', JSON.stringify(run.labels)]]),
      ]
      const id = (await scripts.open.call(
        redis,
        [keys.run(run.id)],
        [base, run.id, run.content ?? '', ...record.flat()],
      )) as string
      const progress = await get(id)
      if (progress === undefined) throw new NotFoundError(`run ${id} vanished while it was opened`)
      return { progress, resumed: id !== run.id }
    },

    get,

    async claimIds(run, ids) {
      if (ids.length > 0) await redis.hset(keys.ids(run), ...ids.flat())
    },

    async seqsOf(run, ids) {
      if (ids.length === 0) return []
      const seqs = await redis.hmget(keys.ids(run), ...ids)
      return seqs.map((seq) => (seq === null ? undefined : Number(seq)))
    },

    async commit(run: string, chunk: Chunk) {
      const record = await redis.llen(keys.rejected(run))
      const kept = chunk.rejected.slice(0, Math.max(0, rejectedKept - record))
      const spooledTasks = chunk.spool.reduce((sum, envelope) => sum + countSeqs(envelope.seqs), 0)
      const done = await scripts.commit.call(
        redis,
        [keys.run(run), keys.spool(run), keys.rejected(run)],
        [
          chunk.afterLine,
          chunk.lines,
          chunk.accepted,
          chunk.rejected.length,
          spooledTasks,
          randomUUID(),
          kept.length,
          ...kept.map((rejection) => JSON.stringify(rejection)),
          ...chunk.spool.map((envelope) => JSON.stringify(envelope)),
        ],
      )
      if (done === -1) throw noRun(run)
      if (done !== 1) {
        throw new ConflictError(
          `run ${run} no longer stands at line ${chunk.afterLine}: another source is feeding it`,
          'RUN_FED_ELSEWHERE',
        )
      }
    },

    async close(run) {
      if ((await finish(run, true, [])) === null) throw noRun(run)
    },

    async adopt(run, driver, fence) {
      const record = [keys.run(run), epochKey(fence)]
      const reply = await scripts.adopt.call(redis, record, [driver, epochOf(fence)])
      return notFenced(reply, fence) === 1 ? get(run) : undefined
    },

    async peekSpool(run, count) {
      const envelopes = await redis.lrange(keys.spool(run), 0, count - 1)
      return envelopes.map((envelope) => JSON.parse(envelope) as Envelope)
    },

    async dropSpool(run, envelopes, tasks) {
      const spool = [keys.run(run), keys.spool(run)]
      const done = await scripts.drop.call(redis, spool, [envelopes, tasks, randomUUID()])
      if (done === -1) throw noRun(run)
    },

    settle: (settlements, fence) =>
      Promise.all(settlements.map((settlement) => settleOne(settlement, fence))),

    async recount(run, fence) {
      const record = [keys.run(run), keys.room, `${keys.run(run)}:room`, epochKey(fence)]
      const reply = await scripts.recount.call(redis, record, [epochOf(fence)])
      const tasks = Number(notFenced(reply, fence))
      await finish(run, false, [], fence)
      return tasks
    },

    async stored(settled, fence) {
      const byRun = Map.groupBy(settled, (settlement) => settlement.run)
      await Promise.all(
        [...byRun].map(([run, of]) =>
          finish(
            run,
            false,
            of.map((settlement) => settlement.id),
            fence,
          ),
        ),
      )
    },

    async pending(run, seqs) {
      const bytes = await Promise.all(
        seqs.map(([first, count]) =>
          redis.getrangeBuffer(keys.map(run), first >> 1, (first + count - 1) >> 1),
        ),
      )
      return seqs.flatMap(([first, count], range) =>
        Array.from({ length: count }, (_, index) => nibble(bytes[range], first, index) === 0),
      )
    },

    async list({ limit, after }) {
      const ids = await redis.zrevrangebylex(
        keys.runs,
        after === undefined ? '+' : `(${after}`,
        '-',
        'LIMIT',
        0,
        limit,
      )
      const found = await Promise.all(ids.map(get))
      return found.flatMap((progress) => (progress === undefined ? [] : [progress.run]))
    },

    unfinished: () => redis.smembers(keys.unfinished),

    async watch(listener) {
      const onMessage = (channel: string, message: string) => {
        if (channel === keys.notices) listener(readNotice(message))
      }
      // ioredis subscribes again by itself; what was published until then is lost to us. Asking
      // again is how to know when that was.
      const onReady = () => {
        subscriber.subscribe(keys.notices).then(
          () => listener(undefined),
          () => {
            // Lost again: then there is another ready to come.
          },
        )
      }
      subscriber.on('message', onMessage)
      await subscriber.subscribe(keys.notices)
      subscriber.on('ready', onReady)
      return async () => {
        subscriber.off('message', onMessage)
        subscriber.off('ready', onReady)
      }
    },
  }
}

/** A script wants a key even where there is nothing to look up. */
const epochKey = (fence: FencingToken | undefined): string => keys.leaseEpoch(fence?.lease ?? '')
const epochOf = (fence: FencingToken | undefined): number | '' => fence?.epoch ?? ''

/** @throws FencedError where a script says that there is a newer grant */
function notFenced(reply: unknown, fence: FencingToken | undefined): unknown {
  if (fence === undefined || !Array.isArray(reply) || reply[0] !== -2) return reply
  throw fenced(fence.lease, fence.epoch, Number(reply[1]))
}

function noRun(run: string): NotFoundError {
  return new NotFoundError(`there is no run ${run}`)
}

function readProgress(record: Record<string, string>, rejected: Rejection[]): RunProgress {
  const number = (field: string) => Number(record[field] ?? 0)
  const counts = noCounts()
  for (const outcome of outcomes) counts[outcome] = number(outcome)
  const total = number('accepted')
  counts.pending = total - number('done')
  const finishedAt = record['finishedAt'] === undefined ? undefined : number('finishedAt')
  const run: Run = {
    id: record['id'] ?? '',
    state: (record['state'] ?? 'accepting') as RunState,
    total,
    counts,
    rejectedCount: number('rejected'),
    rejected,
    ...(record['parent'] === undefined ? {} : { parent: record['parent'] }),
    ...(record['reason'] === undefined ? {} : { reason: record['reason'] }),
    ...(record['stopReason'] === undefined ? {} : { stopReason: record['stopReason'] }),
    createdAt: number('createdAt'),
    ...(finishedAt === undefined
      ? {}
      : { finishedAt, durationMs: Math.max(0, finishedAt - number('createdAt')) }),
    ...(record['labels'] === undefined
      ? {}
      : { labels: JSON.parse(record['labels']) as Record<string, string> }),
  }
  return {
    run,
    lines: number('lines'),
    accepted: total,
    spooled: number('spooled'),
    closed: record['closed'] === '1',
    driver: record['driver'] ?? '',
    ...(record['fence'] === undefined
      ? {}
      : { fence: JSON.parse(record['fence']) as FencingToken }),
    ...((record['content'] ?? '') === '' ? {} : { content: record['content'] ?? '' }),
  }
}

function readNotice(message: string): RunNotice {
  const [run = '', done = '0', state = 'running', mailbox] = message.split(' ')
  return {
    run,
    done: Number(done),
    state: state as RunState,
    ...(mailbox === undefined ? {} : { mailbox }),
  }
}

/** A settlement as counts by code and as the bytes its ranges cover in the outcome map. */
function mapBytes(settlement: Settlement): { counts: number[]; ranges: (number | Buffer)[] } {
  const counts = [0, 0, 0, 0, 0, 0, 0]
  const ranges: (number | Buffer)[] = []
  let next = 0
  for (const [first, count] of settlement.seqs) {
    const start = first >> 1
    const bytes = Buffer.alloc(((first + count - 1) >> 1) - start + 1)
    for (let index = 0; index < count; index += 1) {
      const code = outcomeCode(settlement.outcomes[next] ?? 'failed')
      next += 1
      counts[code - 1] = (counts[code - 1] ?? 0) + 1
      const seq = first + index
      const at = (seq >> 1) - start
      bytes[at] = (bytes[at] ?? 0) | (seq % 2 === 0 ? code << 4 : code)
    }
    ranges.push(start, bytes)
  }
  return { counts, ranges }
}

/** Four bits of the map: task number `index` of a range that begins at seq `first`. */
function nibble(bytes: Uint8Array | undefined, first: number, index: number): number {
  const seq = first + index
  const byte = bytes?.[(seq >> 1) - (first >> 1)] ?? 0
  return seq % 2 === 0 ? byte >> 4 : byte & 15
}

/** What the map holds for each task now, given what it held before. */
function afterwards(settlement: Settlement, before: Buffer[]): (Outcome | undefined)[] {
  const held = settlement.seqs.flatMap(([first, count], range) =>
    Array.from({ length: count }, (_, index) => nibble(before[range], first, index)),
  )
  return [...eachSeq(settlement.seqs)].map((_, index) =>
    held[index] === 0 ? settlement.outcomes[index] : outcomeOf(held[index] ?? 0),
  )
}
