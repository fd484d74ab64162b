/** What a node needs of its environment, looked at piece by piece. */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import type { Config } from '../../config/schema.ts'
import { isLoopback } from '../http/server.ts'
import { readTokens } from '../http/token.ts'
import { liveNodeFiles } from '../node-file.ts'
import { connectOrFail, redisClient } from '../redis/client.ts'
import { findServer, installCommand, thisMachine } from '../redis/install.ts'

export interface Finding {
  check: string
  /** `note`: something optional is not there. */
  status: 'ok' | 'warning' | 'failed' | 'note'
  what: string
  /** The command that mends it. */
  mend?: string
}

const mebibyte = 1_048_576
const redisTimeoutMs = 3000
/** A connection each for every client, and what Redis and the store need. */
const filesMin = 4096
const tokenLengthMin = 16

export async function checkConfig(load: () => Promise<void>): Promise<Finding> {
  try {
    await load()
    return { check: 'config', status: 'ok', what: 'every key is known and fits' }
  } catch (error) {
    const mend = 'muster init --config /tmp/muster.toml  # every key with its default'
    return { check: 'config', status: 'failed', what: describeError(error).message, mend }
  }
}

/** Looks at the nearest directory above it that is there: nothing is made. */
export async function checkDataDirectory(dataDir: string): Promise<Finding> {
  const check = 'data'
  let place = dataDir
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place)
  try {
    if (!statSync(place).isDirectory()) {
      const mend = `muster doctor --data ${quoted(`${place}.d`)}`
      return { check, status: 'failed', what: `${place} is a file, no directory`, mend }
    }
    accessSync(place, constants.W_OK | constants.X_OK)
  } catch (error) {
    const mend = `sudo install -d -o "$(id -un)" ${quoted(dataDir)}`
    return { check, status: 'failed', what: describeError(error).message, mend }
  }
  const { bavail, bsize } = await statfs(place)
  const freeMiB = Math.floor((bavail * bsize) / mebibyte)
  const what = `${dataDir}, ${freeMiB} MiB free`
  if (freeMiB >= 1024) return { check, status: 'ok', what }
  const mend = `df -h ${quoted(place)}  # make room, or choose another with --data`
  return { check, status: freeMiB < 64 ? 'failed' : 'warning', what, mend }
}

export async function checkRedis(url: string | undefined): Promise<Finding> {
  return url === undefined ? checkOwnRedis() : checkNamedRedis(url)
}

function checkOwnRedis(): Finding {
  const check = 'redis'
  const machine = thisMachine()
  const program = findServer(machine)
  if (program !== undefined) return { check, status: 'ok', what: `brought up with ${program}` }
  const what = 'there is no redis-server or valkey-server on the PATH'
  return { check, status: 'failed', what, mend: installCommand(machine) }
}

async function checkNamedRedis(url: string): Promise<Finding> {
  const check = 'redis'
  try {
    const client = redisClient(url, { name: 'doctor', kind: 'command' }, { log: silent })
    try {
      await connectOrFail(client, redisTimeoutMs)
      const info = await client.info('memory')
      const policy = /maxmemory_policy:(\S+)/.exec(info)?.[1]
      if (policy === undefined || policy === 'noeviction') {
        return { check, status: 'ok', what: 'answers, and evicts nothing' }
      }
      const what = `maxmemory-policy is ${policy}: work gets lost when its memory is full`
      const mend = 'redis-cli config set maxmemory-policy noeviction'
      return { check, status: 'failed', what, mend }
    } finally {
      client.disconnect()
    }
  } catch (error) {
    const mend = 'muster start  # without --redis, MUSTER_REDIS_URL and redis.url: its own Redis'
    return { check, status: 'failed', what: describeError(error).message, mend }
  }
}

export async function checkPort(
  { host, port }: Pick<Config['http'], 'host' | 'port'>,
  dataDir: string,
): Promise<Finding> {
  const check = 'port'
  const own = liveNodeFiles(dataDir).find(({ url }) => new URL(url).port === String(port))
  if (own !== undefined) {
    return { check, status: 'ok', what: `node ${own.id} of this directory listens on ${own.url}` }
  }
  const trouble = await tryPort(host, port)
  if (trouble === undefined) return { check, status: 'ok', what: `${host}:${port} is free` }
  const what = `cannot listen on ${host}:${port}: ${trouble}`
  return { check, status: 'failed', what, mend: 'muster start --port 0  # any that is free' }
}

function tryPort(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error) => resolve(describeError(error).message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

const silent = { debug() {}, info() {}, warn() {}, error() {} }

const makeToken =
  '(umask 077; openssl rand -hex 32 > muster.token)  # then --token-file muster.token'

export function checkTokens({
  host,
  tokenFile,
}: Pick<Config['http'], 'host'> & { readonly tokenFile?: string }): Finding {
  const check = 'token'
  if (tokenFile === undefined) {
    if (isLoopback(host)) return { check, status: 'ok', what: 'none; only this machine reaches it' }
    const what = `${host} is open to the network, and there is no token`
    return { check, status: 'failed', what, mend: makeToken }
  }
  try {
    const tokens = readTokens(tokenFile)
    if ((statSync(tokenFile).mode & 0o077) !== 0) {
      const what = `others on this machine can read ${tokenFile}`
      return { check, status: 'warning', what, mend: `chmod 600 ${quoted(tokenFile)}` }
    }
    if (tokens.some(({ text }) => text.length < tokenLengthMin)) {
      const what = `a token in ${tokenFile} has fewer than ${tokenLengthMin} characters`
      return { check, status: 'warning', what, mend: makeToken }
    }
    const writers = tokens.filter(({ role }) => role === 'write').length
    const what = `${writers} may write, ${tokens.length - writers} may only read`
    return { check, status: 'ok', what }
  } catch (error) {
    return { check, status: 'failed', what: describeError(error).message, mend: makeToken }
  }
}

export function checkFileLimit(): Finding {
  const check = 'open files'
  const limits = existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : ''
  const most = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1]
  if (most === undefined) return { check, status: 'note', what: 'cannot be told on this platform' }
  if (most === 'unlimited' || Number(most) >= filesMin) {
    return { check, status: 'ok', what: `${most} at a time` }
  }
  const what = `only ${most} at a time; every client and every command takes some`
  return { check, status: 'warning', what, mend: `ulimit -n ${filesMin}  # before muster start` }
}

/** For kinds of tasks that not everybody uses. */
export function checkPrograms(): Finding[] {
  const { which } = thisMachine()
  const programs = [
    { check: 'containers', names: ['podman', 'docker', 'crun', 'bwrap'], pack: 'podman' },
    { check: 'hosts', names: ['ssh'], pack: 'openssh-client' },
  ]
  return programs.map(({ check, names, pack }): Finding => {
    const found = names.map(which).find((path) => path !== undefined)
    if (found !== undefined) return { check, status: 'ok', what: found }
    const what = `none of ${names.join(', ')} is here; tasks that need it end as unreached`
    const machine = thisMachine()
    const mend = installCommand(machine).replace(/\S*(redis|valkey)\S*( or valkey)?/, pack)
    return { check, status: 'note', what, mend }
  })
}

function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`
}
