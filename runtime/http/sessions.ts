/** Who has logged in with a token: names by chance in a cookie, of this process alone. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Token } from './token.ts'

const sessionMs = 12 * 3_600_000
/** The oldest goes when there are more. */
const sessionsMax = 1000

interface Session {
  token: Token
  endsAt: number
}

export class Sessions {
  readonly maxAgeSeconds = sessionMs / 1000
  readonly #byName = new Map<string, Session>()
  readonly #now: () => number

  /** @param now milliseconds that only grow */
  constructor(now: () => number) {
    this.#now = now
  }

  open(token: Token): string {
    const [oldest] = this.#byName.keys()
    if (this.#byName.size >= sessionsMax && oldest !== undefined) this.#byName.delete(oldest)
    const name = randomBytes(32).toString('base64url')
    this.#byName.set(hashed(name), { token, endsAt: this.#now() + sessionMs })
    return name
  }

  find(name: string): Token | undefined {
    // By its hash, so that the time it takes says nothing of the names there are.
    const key = hashed(name)
    const session = this.#byName.get(key)
    if (session === undefined) return undefined
    if (session.endsAt > this.#now()) return session.token
    this.#byName.delete(key)
    return undefined
  }

  close(name: string): void {
    this.#byName.delete(hashed(name))
  }
}

/** The name in the cookie; a port of its own, for cookies do not tell ports apart. */
export function cookieName(request: Request): string {
  const port = /:(\d+)$/.exec(request.headers.get('host') ?? '')?.[1] ?? ''
  return `muster${port}`
}

/** What the browser has of a session. */
export function sessionOf(request: Request): string | undefined {
  const wanted = cookieName(request)
  for (const pair of (request.headers.get('cookie') ?? '').split(';')) {
    const [name = '', value = ''] = pair.trim().split('=', 2)
    if (name === wanted && value !== '') return value
  }
  return undefined
}

/** The token whose text this is, in a time that does not depend on how much of it is right. */
export function matchToken(tokens: readonly Token[], text: string): Token | undefined {
  const given = digest(text)
  let found: Token | undefined
  for (const token of tokens) {
    if (timingSafeEqual(digest(token.text), given)) found ??= token
  }
  return found
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function hashed(name: string): string {
  return digest(name).toString('base64')
}
