/** The members port in memory: the twin of runtime/redis/members.ts. */
import {
  compareMembers,
  DisplacedError,
  deadListedMs,
  LiveTwinError,
} from '../../actors/membership.ts'
import type {
  BeatOptions,
  Member,
  MemberRecord,
  Members,
  NodeRequest,
} from '../../actors/ports-fleet.ts'
import { memberState } from '../../machines/membership.ts'

interface Entry {
  said: Member
  seen: number
  /** Why it is dead for good. */
  dead?: 'displaced' | 'swept'
}

export function memoryMembers(now: () => number): Members {
  const entries = new Map<string, Entry>()
  /** Node id → the boot that has it now. */
  const boots = new Map<string, string>()
  const listeners = new Map<string, (request: NodeRequest) => void>()

  const holderOf = (id: string): Entry | undefined => {
    const boot = boots.get(id)
    return boot === undefined ? undefined : entries.get(nameOf(id, boot))
  }

  const release = (id: string, boot: string) => {
    if (boots.get(id) === boot) boots.delete(id)
  }

  const dropOld = (staleMs: number) => {
    for (const [name, { said, seen }] of entries) {
      if (now() - seen < staleMs + deadListedMs) continue
      entries.delete(name)
      release(said.id, said.boot)
    }
  }

  const recordOf = ({ said, seen, dead }: Entry, staleMs: number): MemberRecord => ({
    ...structuredClone(said),
    state: dead === undefined ? memberState(seen, now(), staleMs, said.state) : 'dead',
    lastSeen: seen,
    ...(dead === 'swept' ? { swept: true } : {}),
  })

  const beat = (member: Member, { staleMs, isGone }: BeatOptions) => {
    dropOld(staleMs)
    const { id, boot } = member
    const name = nameOf(id, boot)
    const holder = holderOf(id)
    const other = holder?.said.boot === boot ? undefined : holder
    if (entries.get(name)?.dead !== undefined) throw new DisplacedError(member, other?.said)
    if (other !== undefined) {
      const twin = recordOf(other, staleMs)
      if (twin.state !== 'dead' && isGone?.(twin) !== true) throw new LiveTwinError(twin, staleMs)
      other.dead ??= 'displaced'
    }
    boots.set(id, boot)
    entries.set(name, { said: structuredClone(member), seen: now() })
  }

  return {
    async beat(member, options) {
      beat(member, options)
    },
    async leave(id, boot) {
      const name = nameOf(id, boot)
      if (entries.get(name)?.dead !== undefined) return
      entries.delete(name)
      release(id, boot)
    },
    async list(staleMs) {
      return [...entries.values()]
        .filter(({ seen }) => now() - seen < staleMs + deadListedMs)
        .map((entry) => recordOf(entry, staleMs))
        .sort(compareMembers)
    },
    async forget(id, boot, staleMs) {
      const entry = entries.get(nameOf(id, boot))
      if (entry === undefined || entry.dead === 'swept') return false
      if (recordOf(entry, staleMs).state !== 'dead') return false
      entry.dead = 'swept'
      release(id, boot)
      return true
    },
    async ask(id, boot, request) {
      const name = nameOf(id, boot)
      const listener = listeners.get(name)
      // He hears of it after the caller is done, as he would from Redis.
      queueMicrotask(() => {
        if (listeners.get(name) === listener) listener?.(structuredClone(request))
      })
      return listener !== undefined
    },
    async onAsked(id, boot, listener) {
      const name = nameOf(id, boot)
      const own = (request: NodeRequest) => listener(request)
      listeners.set(name, own)
      return async () => {
        if (listeners.get(name) === own) listeners.delete(name)
      }
    },
  }
}

function nameOf(id: string, boot: string): string {
  return `${id} ${boot}`
}
