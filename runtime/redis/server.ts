/**
 * One Redis server process on one directory: how to start it, reach it, find it and end it. That
 * there is only one of it is the business of embedded.ts.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describeError, UnavailableError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import type { ServerPlace } from './server-place.ts'

export type Durability = 'everysec' | 'always'

export interface ServerProcess {
  /** How it ended, once it has. */
  ended(): string | undefined
}

/** What a look at the socket found. Only `ready` brings a connection. */
export type ServerAnswer =
  | { state: 'ready'; redis: Redis }
  | { state: 'absent' }
  /** Loading its data; how far, if it says. */
  | { state: 'loading'; percent: string }
  /** Somebody holds the socket, but has no time for us. */
  | { state: 'silent' }
  /** It answers, with an error. */
  | { state: 'refusing'; message: string }

const answerTimeoutMs = 2000
const stopLimitMs = 10_000
const serverProgram = /^(redis|valkey)-(server|check-rdb)/
/** A rewrite of the append-only file runs in a fork: same program, same directory. */
const forkTitle = /^(redis|valkey)-(aof|rdb)-/

/**
 * Starts a server in a session of its own, so that neither a Ctrl-C at the terminal nor the death
 * of this process reaches it.
 */
export function startServer(
  program: string,
  place: ServerPlace,
  options: { durability: Durability; maxMemoryBytes?: number },
): ServerProcess {
  const settings: Record<string, string> = {
    port: '0',
    unixsocket: place.socket,
    unixsocketperm: '700',
    dir: place.directory,
    logfile: place.logFile,
    pidfile: join(place.directory, 'redis.pid'),
    daemonize: 'no',
    appendonly: 'yes',
    appendfsync: options.durability,
    'no-appendfsync-on-rewrite': 'no',
    save: '',
    'maxmemory-policy': 'noeviction',
    ...(options.maxMemoryBytes ? { maxmemory: String(options.maxMemoryBytes) } : {}),
  }
  const argv = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  // What it says before it opens its log file belongs there too.
  const output = openSync(place.logFile, 'a', 0o600)
  let ending: string | undefined
  const child = spawn(program, argv, {
    cwd: place.directory,
    detached: true,
    env: { PATH: process.env['PATH'] },
    stdio: ['ignore', output, output],
  })
  closeSync(output)
  child.once('error', (error) => (ending = error.message))
  child.once('exit', (code, signal) => (ending ??= signal ?? `exit code ${code}`))
  child.unref()
  return { ended: () => ending }
}

/**
 * Looks whether a server answers on the socket. The connection of a `ready` one is the caller's;
 * once lost, it is made again for as long as `keep` says so.
 */
export async function askServer(place: ServerPlace, keep: () => boolean): Promise<ServerAnswer> {
  const redis = new Redis({
    path: place.socket,
    lazyConnect: true,
    protocol: 2,
    connectionName: 'muster:anchor',
    disableClientInfo: true,
    // A server that loads its data must be told from one that does not answer.
    enableReadyCheck: false,
    enableOfflineQueue: false,
    commandTimeout: answerTimeoutMs,
    retryStrategy: (times) => (keep() ? Math.min(50 * 2 ** (times - 1), 2000) : null),
  })
  let connectError: unknown
  redis.on('error', (error) => (connectError = error))
  let answer: ServerAnswer = { state: 'absent' }
  try {
    await redis.connect()
    await redis.ping()
    answer = { state: 'ready', redis }
    return answer
  } catch (error) {
    answer = await explain(redis, connectError ?? error)
    return answer
  } finally {
    if (answer.state !== 'ready') redis.disconnect()
  }
}

async function explain(redis: Redis, error: unknown): Promise<ServerAnswer> {
  const { code, message } = describeError(error)
  if (message.startsWith('LOADING')) {
    const info = await infoField(redis, 'persistence', 'loading_loaded_perc')
    return { state: 'loading', percent: info ?? '?' }
  }
  // EAGAIN: so many wait to be let in that the kernel takes no more.
  if (message === 'Command timed out' || code === 'EAGAIN' || message.startsWith('BUSY')) {
    return { state: 'silent' }
  }
  const isReply = error instanceof Error && error.name === 'ReplyError'
  if (isReply || code === 'EACCES') return { state: 'refusing', message }
  return { state: 'absent' }
}

/** One field of INFO, or undefined when the server says no such thing or is gone meanwhile. */
export async function infoField(
  redis: Redis,
  section: string,
  name: string,
): Promise<string | undefined> {
  const info = await redis.info(section).catch(() => '')
  return new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1]
}

/** Processes that serve this directory, whether they can be reached or not. */
export function runningServers(directory: string): number[] {
  const pids = existsSync('/proc/self/cwd') ? readdirSync('/proc') : [readPidFile(directory)]
  return pids
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => isServer(pid, directory))
}

function readPidFile(directory: string): string {
  const file = join(directory, 'redis.pid')
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : ''
}

/** Process ids are used again, so a number alone proves nothing. A zombie serves nobody. */
function isServer(pid: number, directory: string): boolean {
  if (!existsSync('/proc/self/cwd')) {
    const { stdout } = Bun.spawnSync(['ps', '-o', 'comm=', '-p', String(pid)])
    return serverProgram.test(basename(stdout.toString().trim()))
  }
  try {
    return (
      readlinkSync(`/proc/${pid}/cwd`) === directory &&
      serverProgram.test(basename(readlinkSync(`/proc/${pid}/exe`))) &&
      !forkTitle.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    )
  } catch (error) {
    const { code } = describeError(error)
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return false
    throw error
  }
}

/** Waits until no process serves the place; false if one still does after 10 s. */
export async function awaitEnd(place: ServerPlace): Promise<boolean> {
  const deadline = performance.now() + stopLimitMs
  while (runningServers(place.directory).length > 0) {
    if (performance.now() > deadline) return false
    await delay(20)
  }
  return true
}

/**
 * Ends whatever serves the place; false if it will not. What Redis has answered for is with the
 * kernel already, so even SIGKILL loses nothing of it.
 */
export async function endServers(place: ServerPlace, log: Log): Promise<boolean> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of runningServers(place.directory)) {
      log.warn({ pid, signal }, 'ending a Redis server')
      sendSignal(pid, signal)
    }
    if (await awaitEnd(place)) return true
  }
  return false
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    // Gone by itself in the meantime.
    if (describeError(error).code !== 'ESRCH') throw error
  }
}

export function unusable(place: ServerPlace, what: string): UnavailableError {
  const pids = runningServers(place.directory).join(', ') || 'unknown'
  return new UnavailableError(
    `The embedded Redis in ${place.directory} (process ${pids}) ${what}. ` +
      `See ${place.logFile}; mend the cause or end the process, then start again.`,
    { code: 'REDIS_UNAVAILABLE' },
  )
}

export function serverDied(program: string, place: ServerPlace, ending: string): UnavailableError {
  const lines = existsSync(place.logFile) ? readFileSync(place.logFile, 'utf8').trim() : ''
  return new UnavailableError(
    `The embedded Redis did not start: ${program} ended with ${ending}. The end of ` +
      `${place.logFile}:\n${lines.split('\n').slice(-12).join('\n')}`,
    { code: 'REDIS_SERVER_DIED' },
  )
}
