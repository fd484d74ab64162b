/**
 * The Redis that Muster brings along. It belongs to a data directory, not to the process that
 * started it: several nodes share it, any of them may be killed, and the last one out stops it.
 *
 * There is never a second server on one data directory, for two would write over each other's
 * append-only file. Counting users in a file counts the killed for ever, and a pid file names
 * strangers after a reboot. So starting, joining and stopping exclude each other by a lock of the
 * kernel, and whoever uses the server keeps a connection to it, the anchor, made under that lock.
 * The kernel takes back both when their process ends, however it ends.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import { unixUrl } from './client.ts'
import { underLock } from './file-lock.ts'
import { findOrInstallServer } from './install.ts'
import type { Durability } from './server.ts'
import {
  askServer,
  awaitEnd,
  endServers,
  infoField,
  runningServers,
  serverDied,
  startServer,
  unusable,
} from './server.ts'
import type { ServerPlace } from './server-place.ts'
import { findPlace, inDataDirectory, makePlace } from './server-place.ts'

export interface EmbeddedOptions {
  dataDir: string
  /** When Redis syncs its file: every second, or before every answer. */
  durability: Durability
  log: Log
  /** Beyond this Redis refuses writes; it never evicts. */
  maxMemoryBytes?: number
  /** The path of a server program; looks on the PATH and may install one if not given. */
  findServer?: () => Promise<string>
}

export interface EmbeddedServer {
  url: string
  pid: number
  /** By this call; false means that it was running already. */
  started: boolean
}

export interface EmbeddedRedis {
  /**
   * Joins the server of the data directory or starts it, and resolves when it answers with its data
   * loaded. Again at any time, say after the server was killed. Throws DataDirectoryError, or
   * UnavailableError REDIS_SERVER_MISSING, REDIS_SERVER_DIED or REDIS_UNAVAILABLE.
   */
  ensure(): Promise<EmbeddedServer>
  /** Stops the server if nobody else is connected. Close your own connections before. */
  release(): Promise<void>
}

const startLimitMs = 20_000
/** A server opens its socket before anything that takes time. */
const unreachableLimitMs = 3000
const silenceLimitMs = 30_000
/** Redis may see connections that their process has closed a moment later than us. */
const closingMs = 500

/** Where the embedded Redis of an existing data directory listens, running or not. */
export function embeddedUrl(dataDir: string): string {
  return unixUrl(findPlace(dataDir).socket)
}

export function embeddedRedis(options: EmbeddedOptions): EmbeddedRedis {
  const { dataDir, log } = options
  let anchor: Redis | undefined
  let kept = false
  let used = false
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(step: (place: ServerPlace) => Promise<T>): Promise<T> => {
    const run = async (): Promise<T> => {
      const place = makePlace(dataDir)
      return underLock(join(place.directory, 'lock.sqlite'), () => step(place))
    }
    const result = turn.then(run, run)
    turn = result
    return result
  }
  const letGo = (): void => {
    kept = false
    anchor?.disconnect()
    anchor = undefined
  }

  const ensure = async (place: ServerPlace): Promise<EmbeddedServer> => {
    letGo()
    const running = await joinServer(place, () => kept, log)
    const redis = running ?? (await start(options, place, () => kept))
    anchor = redis
    kept = true
    used = true
    await strengthen(redis, place, options)
    const pid = Number(await infoField(redis, 'server', 'process_id'))
    if (Number.isNaN(pid)) throw unusable(place, 'was lost at once')
    const started = running === undefined
    const message = started ? 'embedded Redis started' : 'joined the embedded Redis'
    log.info({ pid, socket: place.socket }, message)
    return { url: unixUrl(place.socket), pid, started }
  }

  const release = async (place: ServerPlace): Promise<void> => {
    used = false
    kept = false
    const mine = anchor
    anchor = undefined
    // The anchor reaches its server even when somebody has removed the data directory.
    const redis = mine?.status === 'ready' ? mine : await reachServer(place, log)
    try {
      if (redis) await leave(redis, place, log)
    } finally {
      mine?.disconnect()
      redis?.disconnect()
    }
  }

  return {
    ensure: () => inTurn(ensure),
    release: async () => {
      if (used) await inTurn(release)
    },
  }
}

/** A connection to the server that runs, if one does. */
async function joinServer(
  place: ServerPlace,
  keep: () => boolean,
  log: Log,
): Promise<Redis | undefined> {
  const since = performance.now()
  const redis = await awaitAnswer(place, keep, log, () => {
    const isReachableSoon = performance.now() - since < unreachableLimitMs
    return !isReachableSoon || runningServers(place.directory).length === 0
  })
  if (redis) return redis
  // It has lost its socket: nobody can join it, and a second one must not start beside it.
  const lost = runningServers(place.directory)
  if (lost.length > 0) log.warn({ pids: lost }, 'embedded Redis cannot be reached; restarting it')
  await end(place, log)
  return undefined
}

async function start(
  options: EmbeddedOptions,
  place: ServerPlace,
  keep: () => boolean,
): Promise<Redis> {
  const { dataDir, log } = options
  const say = (line: string): void => log.info({}, line)
  const program = await (options.findServer ?? (() => findOrInstallServer({ say })))()
  const durability = options.durability === 'always' ? 'always' : promisedDurability(place)
  const { maxMemoryBytes } = options
  const server = inDataDirectory(dataDir, () =>
    startServer(program, place, {
      durability,
      ...(maxMemoryBytes === undefined ? {} : { maxMemoryBytes }),
    }),
  )
  let redis: Redis | undefined
  try {
    redis = await awaitAnswer(place, keep, log, () => server.ended() !== undefined)
    if (redis) return redis
    throw serverDied(program, place, server.ended() ?? `no socket after ${startLimitMs / 1000} s`)
  } finally {
    if (!redis) await end(place, log)
  }
}

/**
 * A connection, once the server answers with its data loaded. Undefined when nobody listens and
 * `isHopeless`, or for too long.
 */
async function awaitAnswer(
  place: ServerPlace,
  keep: () => boolean,
  log: Log,
  isHopeless: () => boolean,
): Promise<Redis | undefined> {
  let since = performance.now()
  let reportedAt = since
  for (;;) {
    const answer = await askServer(place, keep)
    const now = performance.now()
    if (answer.state === 'ready') return answer.redis
    if (answer.state === 'refusing') throw unusable(place, `answers: ${answer.message}`)
    if (answer.state === 'absent' && (isHopeless() || now - since > startLimitMs)) return undefined
    if (answer.state === 'silent' && now - since > silenceLimitMs) {
      throw unusable(place, `has not answered for ${silenceLimitMs / 1000} s`)
    }
    // Loading takes as long as it takes; the other limits count from its end.
    if (answer.state === 'loading') {
      since = now
      if (now - reportedAt > 1000) {
        reportedAt = now
        log.info({ percent: answer.percent }, 'embedded Redis is loading its data')
      }
    }
    await delay(20)
  }
}

/** Nobody gets less durability than asked for: the stronger wish wins, also over a crash. */
async function strengthen(
  redis: Redis,
  place: ServerPlace,
  { dataDir, durability, log }: EmbeddedOptions,
): Promise<void> {
  const [, current] = await redis.config('GET', 'appendfsync')
  if (durability === 'everysec' && current === 'always') {
    log.info({ durability: 'always' }, 'embedded Redis stays at the durability somebody asked for')
    return
  }
  if (durability === 'always') {
    inDataDirectory(dataDir, () => writeFileSync(promiseFile(place), 'always\n'))
  }
  if (durability === current) return
  await redis.config('SET', 'appendfsync', durability)
  log.info({ durability, before: current }, 'embedded Redis made more durable')
}

function promiseFile(place: ServerPlace): string {
  return join(place.directory, 'durability')
}

/** The file is there while a server that was asked for `always` has not been stopped in order. */
function promisedDurability(place: ServerPlace): Durability {
  const file = promiseFile(place)
  return existsSync(file) && readFileSync(file, 'utf8').trim() === 'always' ? 'always' : 'everysec'
}

async function otherClients(redis: Redis): Promise<number> {
  const own = `id=${await redis.client('ID')} `
  const deadline = performance.now() + closingMs
  for (;;) {
    const list = String(await redis.client('LIST')).split('\n')
    const others = list.filter((line) => line.startsWith('id=') && !line.startsWith(own)).length
    if (others === 0 || performance.now() > deadline) return others
    await delay(20)
  }
}

async function reachServer(place: ServerPlace, log: Log): Promise<Redis | undefined> {
  const answer = await askServer(place, () => false)
  if (answer.state === 'ready') return answer.redis
  const left = runningServers(place.directory)
  if (left.length > 0) log.warn({ pids: left, ...answer }, 'embedded Redis left running: no answer')
  return undefined
}

async function leave(redis: Redis, place: ServerPlace, log: Log): Promise<void> {
  // One that does not say who is connected may have users: it is never stopped on a guess.
  const others = await otherClients(redis).catch((error: unknown) => describeError(error).message)
  if (others !== 0) {
    log.info({ others }, 'embedded Redis left to others')
    return
  }
  try {
    await redis.call('SHUTDOWN')
  } catch (error) {
    // It closes the connection instead of an answer. What it says against it is worth knowing; it
    // will be made to go all the same.
    const { message } = describeError(error)
    const refused = error instanceof Error && error.name === 'ReplyError'
    if (refused) log.warn({ error: message }, 'embedded Redis refuses to shut down')
  }
  if (!(await awaitEnd(place))) await end(place, log)
  rmSync(place.socket, { force: true })
  rmSync(promiseFile(place), { force: true })
  log.info({}, 'embedded Redis stopped')
}

async function end(place: ServerPlace, log: Log): Promise<void> {
  if (!(await endServers(place, log))) throw unusable(place, 'cannot be ended')
}
