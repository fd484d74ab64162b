import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'

/** A Lua script of scripts/: loaded once by the server, called by its hash. */
export class Script {
  readonly #source: string
  readonly #hash: string

  constructor(name: string) {
    this.#source = readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8')
    this.#hash = createHash('sha1').update(this.#source).digest('hex')
  }

  async call(
    redis: Redis,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ): Promise<unknown> {
    try {
      return await redis.evalsha(this.#hash, keys.length, ...keys, ...args)
    } catch (error) {
      // A restarted or flushed server does not know the script yet.
      if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
      return redis.eval(this.#source, keys.length, ...keys, ...args)
    }
  }
}
