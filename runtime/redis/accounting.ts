/** The accounting port on Redis: run records, outcome maps and spools, changed by Lua alone. */
import { createHash, randomUUID } from 'node:crypto'
import type { Redis } from 'ioredis'
import { countSeqs, type Envelope, envelopeId } from '../../actors/envelope.ts'
import { ConflictError, drivenElsewhere, NotFoundError } from '../../actors/errors.ts'
import { illegal } from '../../actors/holds.ts'
import { fenced } from '../../actors/lease.ts'
import { mailboxKind } from '../../actors/place.ts'
import type { FencingToken } from '../../actors/ports-fleet.ts'
import type {
  Accounting,
  Chunk,
  Hold,
  KeyHolder,
  OpenRun,
  RunProgress,
  Settled,
  Settlement,
} from '../../actors/ports-runs.ts'
import type { Rejection } from '../../actors/task.ts'
import { keys, SlotKeys } from './keys.ts'
import { afterwards, mapBytes, nibble } from './outcome-map.ts'
import { fieldsOf, readNotice, readProgress, readSpooled, recordOf } from './run-record.ts'
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
  /** Default: one slot. */
  slotKeys?: SlotKeys
  /** A connection of its own, for notices. */
  subscriber: Redis
  now(): number
  /** How long the outcome map of a finished run is kept, to refuse late duplicates. */
  mapKeepMs: number
}

export function redisAccounting(options: RedisAccountingOptions): Accounting {
  const { redis, subscriber, slotKeys = new SlotKeys(), now, mapKeepMs } = options

  const spoolOf = (run: string) => [
    slotKeys.run(run),
    `${slotKeys.spool(run)}:first`,
    slotKeys.spool(run),
  ]
  const behind = ({ run, mailbox }: Envelope) => `${slotKeys.run(run)}:behind:${mailbox}`
  /** A script wants a key even where there is nothing to look up. */
  const epochKey = (run: string, fence: FencingToken | undefined) =>
    slotKeys.leaseEpoch(fence?.lease ?? '', slotKeys.slotOf(run))
  const ofEach = <T>(ask: (slot: number) => Promise<T>) => Promise.all(slotKeys.all().map(ask))

  const get = async (run: string): Promise<RunProgress | undefined> => {
    const record = await redis.hgetall(slotKeys.run(run))
    if (record['id'] === undefined) return undefined
    const rejected =
      record['rejected'] === undefined ? [] : await redis.lrange(slotKeys.rejected(run), 0, -1)
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
      [slotKeys.run(run), slotKeys.map(run), `${slotKeys.run(run)}:storing`, epochKey(run, fence)],
      [
        slotKeys.base(run),
        keys.notices,
        run,
        now(),
        sourceEnded ? '1' : '0',
        mapKeepMs,
        epochOf(fence),
        ...ids,
      ],
    )
    return notFenced(reply, fence)
  }

  const settleOne = async (settlement: Settlement, fence?: FencingToken): Promise<Settled> => {
    const { counts, ranges } = mapBytes(settlement)
    const run = settlement.run
    const reply = await scripts.settle.call(
      redis,
      [
        slotKeys.run(run),
        slotKeys.map(run),
        `${slotKeys.run(run)}:storing`,
        slotKeys.room(slotKeys.slotOf(run)),
        `${slotKeys.run(run)}:room`,
        epochKey(run, fence),
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
      const slot = slotKeys.slotOf(run.id)
      const twin = run.key?.name ?? run.content
      // In another slot it would not be seen by its twin.
      if (twin !== undefined && slotKeys.slotOf(twin) !== slot) {
        throw new Error(`expected run ${run.id} to have an id of the slot of what finds it`)
      }
      const reply = await scripts.open.call(
        redis,
        [slotKeys.run(run.id), slotKeys.key(slot, hashOf(run.key?.name ?? ''))],
        [slotKeys.base(run.id), run.id, run.content ?? '', run.key?.ttlMs ?? '', ...recordOf(run)],
      )
      const [id, record] = reply as [string, string[]?]
      // A new one has nothing beside its record.
      if (record !== undefined)
        return { progress: readProgress(fieldsOf(record), []), resumed: false }
      const progress = await get(id)
      if (progress === undefined) throw new NotFoundError(`run ${id} vanished while it was opened`)
      return { progress, resumed: id !== run.id }
    },

    get,

    async runOfKey(key) {
      return (await redis.get(slotKeys.key(slotKeys.slotOf(key), hashOf(key)))) ?? undefined
    },

    async claimIds(run, ids) {
      if (ids.length > 0) await redis.hset(slotKeys.ids(run), ...ids.flat())
    },

    async seqsOf(run, ids) {
      if (ids.length === 0) return []
      const seqs = await redis.hmget(slotKeys.ids(run), ...ids)
      return seqs.map((seq) => (seq === null ? undefined : Number(seq)))
    },

    async feed(run, feeder, driver, instead = '') {
      return (await scripts.feed.call(redis, [slotKeys.run(run)], [feeder, driver, instead])) === 1
    },

    async unfeed(run, feeder) {
      await scripts.unfeed.call(redis, [slotKeys.run(run)], [feeder])
    },

    async claimKeys(run, claims) {
      const bySlot = Map.groupBy(claims.keys(), (at) => slotKeys.slotOf(claims[at]?.key ?? ''))
      const holders: (KeyHolder | undefined)[] = []
      const claimIn = async (slot: number, places: readonly number[]) => {
        const own = places.flatMap((at) => claims[at] ?? [])
        const words = own.flatMap(({ key, seq, ttlMs }) => [hashOf(key), `${run}/${seq}`, ttlMs])
        const dedupeBase = slotKeys.dedupeBase(slot)
        const reply = await scripts.claim.call(redis, [dedupeBase], [dedupeBase, ...words])
        for (const [index, holder] of (reply as string[]).entries()) {
          const [first = '', seq] = holder.split('/')
          holders[places[index] ?? 0] = first === '' ? undefined : { run: first, seq: Number(seq) }
        }
      }
      await Promise.all([...bySlot].map(([slot, places]) => claimIn(slot, places)))
      return claims.map((_, at) => holders[at])
    },

    async commit(run: string, chunk: Chunk) {
      const { rejected } = chunk
      const record = rejected.length === 0 ? 0 : await redis.llen(slotKeys.rejected(run))
      const kept = rejected.slice(0, Math.max(0, rejectedKept - record))
      const held = chunk.held ?? []
      const waiting = [...chunk.spool, ...held.map(({ envelope }) => envelope)]
      const waitingTasks = waiting.reduce((sum, { seqs }) => sum + countSeqs(seqs), 0)
      const done = await scripts.commit.call(
        redis,
        [slotKeys.run(run), slotKeys.spool(run), slotKeys.rejected(run), slotKeys.map(run)],
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
      const record = [slotKeys.run(run), epochKey(run, fence)]
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
      const record = [
        slotKeys.run(run),
        slotKeys.room(slotKeys.slotOf(run)),
        `${slotKeys.run(run)}:room`,
        epochKey(run, fence),
      ]
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
      const words = [slotKeys.base(run), keys.notices, run, action, reason]
      const reply = await scripts.control.call(redis, [slotKeys.run(run)], words)
      const progress = reply === -1 ? undefined : await get(run)
      if (progress === undefined) throw noRun(run)
      if (typeof reply === 'string') throw illegal(run, action, reply)
      return progress
    },

    async holds() {
      const holds = await ofEach((slot) => redis.hgetall(slotKeys.holds(slot)))
      return new Map(holds.flatMap((some) => Object.entries(some) as [string, Hold][]))
    },

    async park(envelope) {
      const { run, mailbox, seqs } = envelope
      const record = [
        slotKeys.run(run),
        `${slotKeys.run(run)}:parked`,
        slotKeys.room(slotKeys.slotOf(run)),
        `${slotKeys.run(run)}:room`,
      ]
      const words = [keys.notices, run, envelopeId(envelope), mailbox, countSeqs(seqs)]
      const order = [firstOf(envelope), mailboxKind(mailbox)?.ordered === true ? '1' : '']
      const reply = await scripts.park.call(
        redis,
        [...record, `${slotKeys.spool(run)}:first`, behind(envelope)],
        [...words, JSON.stringify(envelope), ...order],
      )
      return reply === 1
    },

    async isNext(envelope) {
      return (await scripts.next.call(redis, [behind(envelope)], [firstOf(envelope)])) === 1
    },

    async begin(run, seq, attempt, who) {
      const record = [slotKeys.run(run), slotKeys.map(run), `${slotKeys.run(run)}:begun`]
      const first = await scripts.begin.call(redis, record, [seq, attempt, who])
      return typeof first === 'string' ? first : undefined
    },

    async pending(run, seqs) {
      const bytes = await Promise.all(
        seqs.map(([first, count]) =>
          redis.getrangeBuffer(slotKeys.map(run), first >> 1, (first + count - 1) >> 1),
        ),
      )
      return seqs.flatMap(([first, count], range) =>
        Array.from({ length: count }, (_, index) => nibble(bytes[range], first, index) === 0),
      )
    },

    async list({ limit, after }) {
      const before = after === undefined ? '+' : `(${after}`
      const ids = await ofEach((slot) =>
        redis.zrevrangebylex(slotKeys.runs(slot), before, '-', 'LIMIT', 0, limit),
      )
      const newest = ids.length === 1 ? ids.flat() : ids.flat().sort().reverse().slice(0, limit)
      const found = await Promise.all(newest.map(get))
      return found.flatMap((progress) => (progress === undefined ? [] : [progress.run]))
    },

    unfinished: async () =>
      (await ofEach((slot) => redis.smembers(slotKeys.unfinished(slot)))).flat(),

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

const firstOf = ({ seqs }: Envelope) => seqs[0]?.[0] ?? 0

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
