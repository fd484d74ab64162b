/** The letters port on Redis: one hash a letter, and indexes of them, changed by Lua alone. */
import type { Redis } from 'ioredis'
import { fits } from '../../actors/letters.ts'
import type { Claim, Letter, Letters, NewLetter, WholeLetter } from '../../actors/ports-letters.ts'
import { keys, letterBase } from './keys.ts'
import { Script } from './script.ts'

const scripts = {
  put: new Script('letter-put'),
  claim: new Script('letter-claim'),
  unclaim: new Script('letter-unclaim'),
  redriven: new Script('letter-redriven'),
}

export interface RedisLettersOptions {
  redis: Redis
  /** Letters kept, besides those that are the only copy of a message. Default 100 000. */
  keep?: number
  /** Bytes they may have together. Default 256 MiB. */
  bytesMax?: number
}

/** Redrives are told from first runs for so long. */
const linksKeepMs = 30 * 24 * 3_600_000
/** Letters looked at in one go. */
const lookSize = 500

const headFields = ['head', 'state', 'redrives', 'redrivenAs', 'redriveOf', 'bytes'] as const
type Fields = (string | null)[]

export function redisLetters(options: RedisLettersOptions): Letters {
  const { redis, keep = 100_000, bytesMax = 256 * 1_048_576 } = options

  const putOne = async ({ task, message, ...head }: NewLetter): Promise<boolean> => {
    const { id, run = '', seq = '' } = head
    const letter = [keys.letter(id), keys.letters, keys.passingLetters, keys.letterTotals]
    const contents = JSON.stringify({ task, message })
    const isOnlyCopy = message === undefined ? '' : '1'
    const reply = await scripts.put.call(
      redis,
      [...letter, keys.letterLinks(run)],
      [letterBase, id, JSON.stringify(head), contents, isOnlyCopy, keep, bytesMax, seq],
    )
    return reply === 1
  }

  /** In their order; those that are gone are left out. */
  const heads = async (ids: readonly string[]): Promise<Letter[]> => {
    const found = await Promise.all(ids.map((id) => redis.hmget(keys.letter(id), ...headFields)))
    return found.flatMap((fields) => headOf(fields) ?? [])
  }

  return {
    put: (letters) => Promise.all(letters.map(putOne)),

    async list({ limit, after, ...filter }) {
      const items: Letter[] = []
      let next = after
      for (;;) {
        const from = next === undefined ? '+inf' : `(${next}`
        const look = ['LIMIT', 0, lookSize] as const
        const places = await redis.zrevrangebyscore(keys.letters, from, 0, 'WITHSCORES', ...look)
        const ids = places.filter((_, index) => index % 2 === 0)
        const byId = new Map((await heads(ids)).map((letter) => [letter.id, letter]))
        for (const [index, id] of ids.entries()) {
          const letter = byId.get(id)
          next = places[index * 2 + 1] ?? ''
          if (letter === undefined || !fits(letter, filter)) continue
          items.push(letter)
          if (items.length >= limit) return { items, next }
        }
        if (ids.length < lookSize) return { items }
      }
    },

    get: (ids) =>
      Promise.all(
        ids.map(async (id): Promise<WholeLetter | undefined> => {
          const fields = await redis.hmget(keys.letter(id), ...headFields, 'contents')
          const head = headOf(fields)
          if (head === undefined) return undefined
          return { ...head, ...(JSON.parse(fields[headFields.length] ?? '{}') as object) }
        }),
      ),

    async claim(id, max): Promise<Claim> {
      const reply = await scripts.claim.call(redis, [keys.letter(id)], [max])
      const [verdict, redrives, puts] = reply as [string, number, number]
      if (verdict === 'granted') return { granted: true, redrives, puts }
      if (verdict === 'often') return { granted: false, why: 'often', redrives }
      return { granted: false, why: verdict === 'gone' ? 'gone' : 'missing' }
    },

    async unclaim(id) {
      await scripts.unclaim.call(redis, [keys.letter(id)], [])
    },

    async redriven(id, as, puts) {
      const letter = [keys.letter(id), keys.passingLetters, keys.letterTotals]
      await scripts.redriven.call(redis, letter, [id, as, puts])
    },

    async link(run, links) {
      if (links.length === 0) return
      const fields = links.flatMap(({ seq, letter, redrives }) => [seq, `${redrives} ${letter}`])
      const place = keys.letterLinks(run)
      await redis
        .multi()
        .hset(place, ...fields)
        .pexpire(place, linksKeepMs)
        .exec()
    },
  }
}

function headOf(fields: Fields): Letter | undefined {
  const [head, state, redrives, redrivenAs, redriveOf, bytes] = fields
  if (typeof head !== 'string') return undefined
  return {
    ...(JSON.parse(head) as Omit<NewLetter, 'task' | 'message'>),
    state: state === 'redriven' ? 'redriven' : 'open',
    redrives: Number(redrives),
    ...(typeof redrivenAs === 'string' ? { redrivenAs: JSON.parse(redrivenAs) as string[] } : {}),
    ...(typeof redriveOf === 'string' ? { redriveOf } : {}),
    bytes: Number(bytes),
  }
}
