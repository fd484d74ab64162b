/** FNV-1a, 32 bits, over UTF-16 code units: small, fast, and the same everywhere. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index += 1) {
    hash ^= text.charCodeAt(index)
    hash = Math.imul(hash, 0x01000193)
  }
  return hash >>> 0
}

const offset64 = 0xcbf29ce484222325n
const prime64 = 0x100000001b3n

/** FNV-1a, 64 bits, over UTF-8: what other programs that share out by key use as well. */
export function fnv1a64(text: string): bigint {
  let hash = offset64
  for (const byte of new TextEncoder().encode(text)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * prime64)
  }
  return hash
}

/** Which of so many shards a key belongs to, 0 up. */
export function shardOf(key: string, shards: number): number {
  if (!Number.isInteger(shards) || shards < 1) {
    throw new RangeError(`shards: expected a whole number from 1 up, got ${shards}`)
  }
  return Number(fnv1a64(key) % BigInt(shards))
}

/**
 * Whose something is among several, by highest weight: when one of them goes or comes, only what is
 * his changes hands. Undefined without any.
 */
export function rendezvous(name: string, owners: readonly string[]): string | undefined {
  let winner: string | undefined
  let most = -1
  for (const owner of owners) {
    // The last letters of a text move only the low bits of its hash; those are mixed into the rest.
    let weight = fnv1a(`${owner}\n${name}`)
    weight = Math.imul(weight ^ (weight >>> 16), 0x85ebca6b)
    weight = Math.imul(weight ^ (weight >>> 13), 0xc2b2ae35)
    weight = (weight ^ (weight >>> 16)) >>> 0
    if (weight > most || (weight === most && winner !== undefined && owner < winner)) {
      winner = owner
      most = weight
    }
  }
  return winner
}
