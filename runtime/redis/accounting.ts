/** The accounting port on Redis: run records, outcome maps and spools, changed by Lua alone. */
import { createHash, randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { countSeqs, type Envelope, envelopeId, mailboxKind } from '../../actors/envelope.ts'
import { ConflictError, drivenElsewhere, NotFoundError } from '../../actors/errors.ts'
import { illegal } from '../../actors/holds.ts'
import { fenced } from '../../actors/lease.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type {
  Accounting,
  Chunk,
  Hold,
  OpenRun,
  RunProgress,
  Settled,
  Settlement,
} from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import { base, keys } from './keys.ts'
import { afterwards, mapBytes, nibble } from './outcome-map.ts'
import { readNotice, readProgress, readSpooled, recordOf } from './run-record.ts'
import { Script } from './script.ts'

/** Rejected lines a run remembers; beyond that they are only counted. */
const rejectedKept = 1000

const scripts = {
  open: new Script('open'),
  feed: new Script('feed'),
  unfeed: new Script('unfeed'),
  claim: new Script('claim'),
  commit: new Script('commit'),
  settle: new Script('settle'),
  finish: new Script('finish'),
  adopt: new Script('adopt'),
  recount: new Script('recount'),
  drop: new Script('drop'),
  control: new Script('control'),
  park: new Script('park'),
  next: new Script('next'),
  peek: new Script('peek'),
  begin: new Script('begin'),
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
      const id = (await scripts.open.call(
        redis,
        [keys.run(run.id), keys.key(hashOf(run.key?.name ?? ''))],
        [base, run.id, run.content ?? '', run.key?.ttlMs ?? '', ...recordOf(run)],
      )) as string
      const progress = await get(id)
      if (progress === undefined) throw new NotFoundError(`run ${id} vanished while it was opened`)
      return { progress, resumed: id !== run.id }
    },

    get,

    async runOfKey(key) {
      return (await redis.get(keys.key(hashOf(key)))) ?? undefined
    },

    async claimIds(run, ids) {
      if (ids.length > 0) await redis.hset(keys.ids(run), ...ids.flat())
    },

    async seqsOf(run, ids) {
      if (ids.length === 0) return []
      const seqs = await redis.hmget(keys.ids(run), ...ids)
      return seqs.map((seq) => (seq === null ? undefined : Number(seq)))
    },

    async feed(run, feeder, driver, instead = '') {
      return (await scripts.feed.call(redis, [keys.run(run)], [feeder, driver, instead])) === 1
    },

    async unfeed(run, feeder) {
      await scripts.unfeed.call(redis, [keys.run(run)], [feeder])
    },

    async claimKeys(run, claims) {
      const words = claims.flatMap(({ key, seq, ttlMs }) => [hashOf(key), `${run}/${seq}`, ttlMs])
      const reply = await scripts.claim.call(redis, [keys.run(run)], [base, ...words])
      return (reply as string[]).map((holder) => {
        const [first = '', seq] = holder.split('/')
        return first === '' ? undefined : { run: first, seq: Number(seq) }
      })
    },

    async commit(run: string, chunk: Chunk) {
      const record = await redis.llen(keys.rejected(run))
      const kept = chunk.rejected.slice(0, Math.max(0, rejectedKept - record))
      const held = chunk.held ?? []
      const waiting = [...chunk.spool, ...held.map(({ envelope }) => envelope)]
      const waitingTasks = waiting.reduce((sum, { seqs }) => sum + countSeqs(seqs), 0)
      const done = await scripts.commit.call(
        redis,
        [keys.run(run), keys.spool(run), keys.rejected(run), keys.map(run)],
        [
          chunk.afterLine,
          chunk.lines,
          chunk.accepted,
          chunk.rejected.length,
          waitingTasks,
          randomUUID(),
          kept.length,
          chunk.spool.length,
          chunk.linesHash ?? '',
          chunk.feeder ?? '',
          ...kept.map((rejection) => JSON.stringify(rejection)),
          ...chunk.spool.map((envelope) => JSON.stringify(envelope)),
          ...held.flatMap(({ envelope, needs }) => [
            envelope.seqs[0]?.[0] ?? 0,
            needs.join(','),
            JSON.stringify(envelope),
          ]),
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
      const reply = await scripts.peek.call(redis, spoolOf(run), [count])
      const [mark, envelopes] = reply as [string, string[]]
      return { mark, envelopes: envelopes.map(readSpooled) }
    },

    async dropSpool(run, { mark, envelopes, tasks, driver = '' }) {
      const words = [envelopes, tasks, randomUUID(), driver, mark]
      const done = await scripts.drop.call(redis, spoolOf(run), words)
      if (done === -1) throw noRun(run)
      if (done === -3) throw drivenElsewhere(run)
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

    async control(run, action, reason) {
      const words = [base, keys.notices, run, action, reason]
      const reply = await scripts.control.call(redis, [keys.run(run)], words)
      const progress = reply === -1 ? undefined : await get(run)
      if (progress === undefined) throw noRun(run)
      if (typeof reply === 'string') throw illegal(run, action, reply)
      return progress
    },

    async holds() {
      const holds = await redis.hgetall(keys.holds)
      return new Map(Object.entries(holds) as [string, Hold][])
    },

    async park(envelope) {
      const { run, mailbox, seqs } = envelope
      const record = [keys.run(run), `${keys.run(run)}:parked`, keys.room, `${keys.run(run)}:room`]
      const words = [keys.notices, run, envelopeId(envelope), mailbox, countSeqs(seqs)]
      const order = [firstOf(envelope), mailboxKind(mailbox)?.ordered === true ? '1' : '']
      const reply = await scripts.park.call(
        redis,
        [...record, `${keys.spool(run)}:first`, behind(envelope)],
        [...words, JSON.stringify(envelope), ...order],
      )
      return reply === 1
    },

    async isNext(envelope) {
      return (await scripts.next.call(redis, [behind(envelope)], [firstOf(envelope)])) === 1
    },

    async begin(run, seq, attempt, who) {
      const record = [keys.run(run), keys.map(run), `${keys.run(run)}:begun`]
      const first = await scripts.begin.call(redis, record, [seq, attempt, who])
      return typeof first === 'string' ? first : undefined
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

const spoolOf = (run: string) => [keys.run(run), `${keys.spool(run)}:first`, keys.spool(run)]
const behind = ({ run, mailbox }: Envelope) => `${keys.run(run)}:behind:${mailbox}`
const firstOf = ({ seqs }: Envelope) => seqs[0]?.[0] ?? 0

/** A script wants a key even where there is nothing to look up. */
const epochKey = (fence: FencingToken | undefined): string => keys.leaseEpoch(fence?.lease ?? '')
const epochOf = (fence: FencingToken | undefined): number | '' => fence?.epoch ?? ''

/** @throws FencedError where a script says that there is a newer grant */
function notFenced(reply: unknown, fence: FencingToken | undefined): unknown {
  if (fence === undefined || !Array.isArray(reply) || reply[0] !== -2) return reply
  throw fenced(fence.lease, fence.epoch, Number(reply[1]))
}

/** Of names that others choose: of any length, and not to be read off the keys. */
function hashOf(name: string): string {
  return createHash('sha256').update(name).digest('hex')
}

function noRun(run: string): NotFoundError {
  return new NotFoundError(`there is no run ${run}`)
}
