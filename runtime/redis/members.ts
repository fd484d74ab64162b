/** The members port on Redis. Its clock is the only one: those of the nodes need not agree. */
import type { Redis } from 'ioredis'
import { describeError, UnavailableError } from '../../actors/errors.ts'
import {
  compareMembers,
  DisplacedError,
  deadListedMs,
  LiveTwinError,
} from '../../actors/membership.ts'
import type { Member, MemberRecord, Members, NodeRequest } from '../../actors/ports-fleet.ts'
import { memberState } from '../../machines/membership.ts'
import { keys } from './keys.ts'
import { Script } from './script.ts'

const scripts = {
  beat: new Script('member-beat'),
  leave: new Script('member-leave'),
  list: new Script('member-list'),
  forget: new Script('member-forget'),
}

const { members, membersSeen, memberBoots, membersDead } = keys

export interface RedisMembersOptions {
  redis: Redis
  /** A connection of its own, for what this node is asked. */
  subscriber: Redis
  /** How long an operation may take. One that takes longer may be done all the same. */
  timeoutMs: number
}

type Verdict =
  | readonly ['ok', now: number]
  | readonly ['twin' | 'displaced', now: number, member?: string, seen?: string]

export function redisMembers(options: RedisMembersOptions): Members {
  const { redis, subscriber, timeoutMs } = options
  const call = (
    script: Script,
    scriptKeys: readonly string[],
    args: readonly (string | number)[],
  ) => answerWithin(timeoutMs, script.call(redis, scriptKeys, args))

  return {
    async beat(member, { staleMs, isGone }) {
      const all = [members, membersSeen, memberBoots, membersDead]
      const said = JSON.stringify(member)
      let gone = ''
      // Names the boot found to have ended, so that one that came in its stead is asked about too.
      for (;;) {
        const args = [member.id, member.boot, said, staleMs, deadListedMs, gone]
        const [verdict, now, other, seen] = (await call(scripts.beat, all, args)) as Verdict
        if (verdict === 'ok') return
        const holder = other === undefined ? undefined : readMember(other)
        if (verdict === 'displaced' || holder === undefined)
          throw new DisplacedError(member, holder)
        const twin = recordOf(holder, Number(seen), now, staleMs, '')
        if (isGone?.(twin) !== true) throw new LiveTwinError(twin, staleMs)
        gone = twin.boot
      }
    },

    async leave(id, boot) {
      await call(scripts.leave, [members, membersSeen, memberBoots, membersDead], [id, boot])
    },

    async list(staleMs) {
      const reply = await call(scripts.list, [members, membersSeen, membersDead], [])
      const [now, ...rows] = reply as [number, ...string[]]
      const records: MemberRecord[] = []
      for (let row = 0; row < rows.length; row += 3) {
        const [said = '', seen, dead = ''] = rows.slice(row, row + 3)
        if (now - Number(seen) >= staleMs + deadListedMs) continue
        records.push(recordOf(readMember(said), Number(seen), now, staleMs, dead))
      }
      return records.sort(compareMembers)
    },

    async forget(id, boot, staleMs) {
      const all = [membersSeen, memberBoots, membersDead]
      return (await call(scripts.forget, all, [id, boot, staleMs])) === 1
    },

    async ask(id, boot, request) {
      const said = redis.publish(keys.memberAsked(id, boot), JSON.stringify(request))
      return (await answerWithin(timeoutMs, said)) > 0
    },

    async onAsked(id, boot, listener) {
      const channel = keys.memberAsked(id, boot)
      const onMessage = (from: string, said: string) => {
        if (from === channel) listener(JSON.parse(said) as NodeRequest)
      }
      subscriber.on('message', onMessage)
      try {
        // ioredis subscribes again by itself after an outage.
        await answerWithin(timeoutMs, subscriber.subscribe(channel))
      } catch (error) {
        subscriber.off('message', onMessage)
        // It may be done all the same, later; nobody is to be told then that we hear him.
        subscriber.unsubscribe(channel).catch(() => undefined)
        throw error
      }
      return async () => {
        subscriber.off('message', onMessage)
        try {
          await answerWithin(timeoutMs, subscriber.unsubscribe(channel))
        } catch {
          // Redis is away: it forgets who listened.
        }
      }
    },
  }
}

function readMember(said: string): Member {
  return JSON.parse(said) as Member
}

function recordOf(
  member: Member,
  lastSeen: number,
  now: number,
  staleMs: number,
  dead: string,
): MemberRecord {
  const state = dead === '' ? memberState(lastSeen, now, staleMs, member.state) : 'dead'
  return { ...member, state, lastSeen, ...(dead === 'swept' ? { swept: true } : {}) }
}

/** Redis is there and refuses for now, or the client was closed under its commands. */
const refusal =
  /^(MISCONF|OOM|READONLY|LOADING|MASTERDOWN|NOREPLICAS|CLUSTERDOWN)\b|^Connection is closed/

async function answerWithin<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    late.reject(new UnavailableError(`Redis did not answer within ${timeoutMs} ms`))
  }, timeoutMs)
  try {
    return await Promise.race([answer, late.promise])
  } catch (error) {
    const { message } = describeError(error)
    if (!refusal.test(message)) throw error
    throw new UnavailableError(`Redis cannot be used now: ${message}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}
