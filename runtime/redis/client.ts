/**
 * Connections to Redis, wherever it lives. A client waits through an outage instead of failing:
 * commands given meanwhile are sent once Redis is back, so who needs an answer by a certain time
 * brings a time limit of its own. At start nobody wants to wait: that is what connectOrFail is for.
 */
import type { ClusterNode, RedisOptions } from 'ioredis'
import { Cluster, Redis } from 'ioredis'
import { describeError, UnavailableError, UsageError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import { hidePassword } from '../../config/secret.ts'

/** Every command can be called on either; MULTI and Lua need all their keys in one hash slot. */
export type RedisClient = Redis | Cluster

export interface ClientPurpose {
  /** Shown by CLIENT LIST as `muster:<name>`. */
  name: string
  /** `blocking` waits inside Redis, `subscriber` listens; a `command` is answered at once. */
  kind: 'command' | 'blocking' | 'subscriber'
  /**
   * A command that is not answered within so long fails, and one given while Redis is away fails at
   * once: whoever gave it up must not have it done when the connection is back.
   */
  timeoutMs?: number
}

type ConnectionOptions = Omit<RedisOptions, 'replyMapping'>

/** Where a URL leads, in the terms of ioredis. */
export type RedisTarget =
  | { kind: 'standalone' | 'sentinel'; options: ConnectionOptions }
  | { kind: 'cluster'; nodes: ClusterNode[]; options: ConnectionOptions }

/**
 * Waiting for a new primary is like waiting for a Redis that is away; so many tries, each after
 * `redirectMs`.
 */
const redirectionsMax = 1000
const redirectMs = 100
/** Of a command that has a time limit: a new primary is looked for, and not waited for. */
const promptRedirectionsMax = 3

/** Without an answer for so long, a connection with commands under way is taken for dead. */
const silenceMaxMs = 30_000
const addresses = new WeakMap<RedisClient, string>()

const promptly = (timeoutMs: number): ConnectionOptions => ({
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: timeoutMs,
  socketTimeout: timeoutMs,
})

const retryDelayMs = (times: number): number => Math.min(50 * 2 ** (times - 1), 2000)

/**
 * A client, already connecting. It reconnects for ever, 50 ms to 2 s apart, and logs an outage
 * once, and its end. Throws UsageError when the URL cannot be understood.
 */
export function redisClient(
  url: string,
  purpose: ClientPurpose,
  { log }: { log: Log },
): RedisClient {
  const target = parseRedisUrl(url)
  const options: ConnectionOptions = {
    ...target.options,
    // A name with a space would be refused by Redis.
    connectionName: `muster:${purpose.name}`.replace(/[^!-~]+/g, '-'),
    // BullMQ refuses workers with any other value.
    maxRetriesPerRequest: null,
    // One pipeline for everybody would delay a lease renewal behind a batch of envelopes.
    enableAutoPipelining: false,
    // After a failover we may hold a replica. The refused command is not sent again by itself:
    // out of a MULTI it would run alone.
    reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 1 : false),
    // A cable pulled out says nothing. Those who wait or listen are silent by nature.
    ...(purpose.kind === 'command' ? { socketTimeout: silenceMaxMs } : {}),
    ...(purpose.timeoutMs === undefined ? {} : promptly(purpose.timeoutMs)),
  }
  const client = clientOf(target, options, purpose)
  const address = hidePassword(url)
  addresses.set(client, address)
  logOutages(client, { redis: address, client: purpose.name }, log)
  return client
}

function clientOf(
  target: RedisTarget,
  options: ConnectionOptions,
  purpose: ClientPurpose,
): RedisClient {
  if (target.kind !== 'cluster') {
    return new Redis({
      ...options,
      retryStrategy: retryDelayMs,
      ...(target.kind === 'sentinel' ? { sentinelRetryStrategy: retryDelayMs } : {}),
    })
  }
  if (purpose.kind === 'subscriber') return clusterListener(target.nodes, options)
  const isPrompt = purpose.timeoutMs !== undefined
  return new Cluster(target.nodes, {
    redisOptions: options,
    clusterRetryStrategy: retryDelayMs,
    enableAutoPipelining: false,
    enableOfflineQueue: !isPrompt,
    maxRedirections: isPrompt ? promptRedirectionsMax : redirectionsMax,
    retryDelayOnFailover: redirectMs,
    retryDelayOnClusterDown: redirectMs,
    retryDelayOnTryAgain: redirectMs,
  })
}

/**
 * What is published in a cluster is heard at any of its servers. A client of the whole cluster
 * would move its subscriptions to another server without a word, and nobody would know that he
 * missed something; this one says `ready` again, wherever it comes back.
 */
function clusterListener(nodes: readonly ClusterNode[], options: ConnectionOptions): Redis {
  const at = (index: number): ConnectionOptions => {
    const node = nodes[index % nodes.length]
    if (typeof node !== 'object') return {}
    return { host: node.host ?? 'localhost', port: node.port ?? 6379 }
  }
  const listener = new Redis({ ...options, ...at(0), retryStrategy: retryDelayMs })
  let tried = 0
  listener.on('reconnecting', () => {
    tried += 1
    Object.assign(listener.options, at(tried))
  })
  return listener
}

/** Without an error listener a lost connection ends the process. */
function logOutages(client: RedisClient, fields: Record<string, unknown>, log: Log): void {
  let awaySince: number | undefined
  const away = (message: string): void => {
    if (awaySince !== undefined) return
    awaySince = performance.now()
    log.warn({ ...fields, error: message }, 'Redis is away; commands wait until it is back')
  }
  client.on('error', (error: unknown) => away(reasonOf(error)))
  client.on('reconnecting', () => away('connection closed'))
  client.on('ready', () => {
    if (awaySince === undefined) return
    const awayMs = Math.round(performance.now() - awaySince)
    awaySince = undefined
    log.info({ ...fields, awayMs }, 'Redis is back')
  })
}

export function isCluster(client: RedisClient): client is Cluster {
  return client instanceof Cluster
}

/** The servers that may be written to: one, or those of a cluster. */
export function primariesOf(client: RedisClient): Redis[] {
  return isCluster(client) ? client.nodes('master') : [client]
}

/**
 * Resolves when Redis answers and has its data loaded. Otherwise, within `timeoutMs` or as soon as
 * Redis refuses the login, disconnects the client and throws UnavailableError REDIS_UNAVAILABLE.
 */
export function connectOrFail(client: RedisClient, timeoutMs: number): Promise<void> {
  if (client.status === 'ready') return Promise.resolve()
  return new Promise((resolve, reject) => {
    let reason = 'no answer'
    const settle = (finish: () => void): void => {
      clearTimeout(timer)
      client.off('ready', onReady)
      client.off('error', onError)
      client.off('end', onEnd)
      finish()
    }
    const fail = (when: string): void =>
      settle(() => {
        client.disconnect()
        const address = addresses.get(client) ?? 'the given address'
        reject(
          new UnavailableError(
            `Redis at ${address} ${when} (${reason}). Start it or correct --redis (or ` +
              'MUSTER_REDIS_URL, redis.url); without any of them Muster starts its own Redis.',
            { code: 'REDIS_UNAVAILABLE' },
          ),
        )
      })
    const onReady = (): void => settle(resolve)
    const onError = (error: unknown): void => {
      reason = reasonOf(error)
      if (/^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH)\b/.test(reason)) fail('refuses the login')
    }
    const onEnd = (): void => fail('was disconnected')
    const timer = setTimeout(() => fail(`did not answer within ${timeoutMs} ms`), timeoutMs)
    client.on('ready', onReady)
    client.on('error', onError)
    client.on('end', onEnd)
  })
}

/** A cluster hides why its last node failed, and several addresses of one host hide theirs. */
function reasonOf(error: unknown): string {
  if (error instanceof Error && 'lastNodeError' in error && error.lastNodeError instanceof Error) {
    return reasonOf(error.lastNodeError)
  }
  const { code, message } = describeError(error)
  return message === 'AggregateError' ? code : message
}

/** The URL of a unix socket. */
export function unixUrl(path: string): string {
  return `unix://${path.replace(/[%?#\s]/g, encodeURIComponent)}`
}

/** Throws UsageError REDIS_URL. */
export function parseRedisUrl(url: string): RedisTarget {
  const scheme = /^([a-z-]+):\/\//.exec(url)?.[1]
  try {
    if (scheme === 'redis' || scheme === 'rediss') return standalone(new URL(url))
    if (scheme === 'unix') return unixSocket(new URL(url))
    if (scheme === 'redis-sentinel') return sentinel(url)
    if (scheme === 'redis-cluster') return cluster(url)
    throw new TypeError(scheme ? `unknown scheme ${scheme}` : 'no scheme')
  } catch (error) {
    throw new UsageError(
      'The Redis URL must be redis://[user:password@]host[:port][/db], rediss://…, ' +
        'unix:///path/to.sock[?db=N&password=…], redis-sentinel://host:port,…/name or ' +
        'redis-cluster://host:port,…; ' +
        `got ${hidePassword(url)} (${describeError(error).message}).`,
      'REDIS_URL',
    )
  }
}

function standalone(url: URL): RedisTarget {
  if (!url.hostname) throw new TypeError('no host')
  if (url.search) throw new TypeError('options after ? are for unix:// only')
  return {
    kind: 'standalone',
    options: {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port ? Number(url.port) : 6379,
      ...login(url.username, url.password),
      ...database(url.pathname.slice(1)),
      ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
    },
  }
}

function unixSocket(url: URL): RedisTarget {
  if (url.hostname || url.pathname.length < 2) throw new TypeError('not an absolute path')
  const { db = '', username = '', password = '', ...unknown } = Object.fromEntries(url.searchParams)
  for (const name of Object.keys(unknown)) throw new TypeError(`unknown option ${name}`)
  return {
    kind: 'standalone',
    options: {
      path: decodeURIComponent(url.pathname),
      ...(username ? { username } : {}),
      ...(password ? { password } : {}),
      ...database(db),
    },
  }
}

function sentinel(url: string): RedisTarget {
  const { hosts, credentials, path } = hostList(url, 26379)
  const [name, db = ''] = path.split('/')
  if (!name) throw new TypeError('no name of the master after the hosts')
  const options = { name, sentinels: hosts, ...credentials, ...database(db) }
  return { kind: 'sentinel', options }
}

function cluster(url: string): RedisTarget {
  const { hosts, credentials, path } = hostList(url, 6379)
  if (path) throw new TypeError('a cluster has only database 0')
  return { kind: 'cluster', nodes: hosts, options: credentials }
}

/** `scheme://[user:password@]host[:port],…[/path]`, which URL does not understand. */
function hostList(
  url: string,
  defaultPort: number,
): { hosts: { host: string; port: number }[]; credentials: ConnectionOptions; path: string } {
  const parts = /^[a-z-]+:\/\/(?:([^:@/]*)(?::([^@/]*))?@)?([^/?#]+)(?:\/([^?#]*))?$/.exec(url)
  if (!parts) throw new TypeError('no list of hosts')
  const [, username = '', password = '', list = '', path = ''] = parts
  const hosts = list.split(',').map((item) => {
    const [, host, port] = /^(\[[^\]]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(item) ?? []
    if (!host) throw new TypeError(`'${item}' is not host:port`)
    return { host: host.replace(/^\[|\]$/g, ''), port: port ? Number(port) : defaultPort }
  })
  return { hosts, credentials: login(username, password), path }
}

function login(username: string, password: string): ConnectionOptions {
  return {
    ...(username ? { username: decodeURIComponent(username) } : {}),
    ...(password ? { password: decodeURIComponent(password) } : {}),
  }
}

function database(text: string): ConnectionOptions {
  if (!text) return {}
  if (!/^\d{1,5}$/.test(text)) throw new TypeError(`database '${text}' is not a number`)
  return { db: Number(text) }
}
