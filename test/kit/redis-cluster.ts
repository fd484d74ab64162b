/** A real Redis Cluster on loopback: three primaries with a replica each, ports that were free. */
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findOrInstallServer } from '../../runtime/redis/install.ts'
import { removeTemporaryDirectories, temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'

export interface RedisCluster {
  /** `redis-cluster://` and three of its servers. */
  readonly url: string
  /** SIGKILL to the primary that has this key; resolves when its replica has taken over. */
  killPrimaryOf(key: string): Promise<void>
  /** How many keys each primary has. */
  keysByPrimary(): Promise<number[]>
  stop(): Promise<void>
}

type Child = Bun.Subprocess<'ignore', 'ignore', 'ignore'>

const slots = 16_384
const primaries = 3
/** A primary that is silent for so long is replaced. */
const nodeTimeoutMs = 1000

const running = new Set<Child>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Resolves when every slot is served and every primary has its replica. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const program = await findOrInstallServer({ say: console.log })
  const directory = temporaryDirectory()
  const ports = await freePorts(primaries * 2)
  const children = ports.map((port) => launch(program, join(directory, String(port)), port))
  const clients = ports.map((port) => new Redis({ port, maxRetriesPerRequest: null }))
  for (const client of clients) client.on('error', () => undefined)
  const fell = Promise.race(
    children.map(async (child, index) => {
      await child.exited
      throw new Error(`the server on port ${ports[index]} ended with ${child.exitCode}`)
    }),
  )
  // Later on they are killed on purpose.
  fell.catch(() => undefined)
  const stop = async () => {
    for (const client of clients) client.disconnect()
    for (const child of children) {
      child.kill('SIGKILL')
      await child.exited
    }
    removeTemporaryDirectories([directory])
  }
  try {
    await Promise.race([joinCluster(clients, ports), fell])
  } catch (error) {
    await stop()
    throw error
  }
  const dead = new Set<number>()
  const alive = () => clients.filter((_, index) => !dead.has(index))
  return {
    url: `redis-cluster://${ports
      .slice(0, primaries)
      .map((port) => `127.0.0.1:${port}`)
      .join(',')}`,
    async killPrimaryOf(key) {
      const [any] = alive()
      const slot = Number(await any?.cluster('KEYSLOT', key))
      const owner = await ownerOf(any, slot)
      const index = ports.indexOf(owner)
      const victim = children[index]
      dead.add(index)
      victim?.kill('SIGKILL')
      await victim?.exited
      await eventually(
        async () => {
          const now = await ownerOf(alive()[0], slot)
          if (now === owner) throw new Error(`slot ${slot} is still served by ${owner}`)
          const info = (await alive()[0]?.cluster('INFO')) ?? ''
          if (!info.includes('cluster_state:ok')) throw new Error('the cluster is down')
        },
        { timeoutMs: 40_000 },
      )
    },
    async keysByPrimary() {
      const counts: number[] = []
      for (const client of alive()) {
        const role = await client.role()
        if (role[0] === 'master') counts.push(await client.dbsize())
      }
      return counts
    },
    stop,
  }
}

function launch(program: string, directory: string, port: number): Child {
  mkdirSync(directory, { recursive: true })
  const settings = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    logfile: join(directory, 'redis.log'),
    'cluster-enabled': 'yes',
    'cluster-node-timeout': String(nodeTimeoutMs),
    'cluster-port': String(port + 1),
    appendonly: 'yes',
    save: '',
    'repl-diskless-sync-delay': '0',
    'maxmemory-policy': 'noeviction',
  }
  const argv = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const guard = Bun.which('setpriv') ? ['setpriv', '--pdeathsig', 'KILL', '--'] : []
  const child = Bun.spawn([...guard, program, ...argv], {
    stdio: ['ignore', 'ignore', 'ignore'],
    onExit: (exited) => void running.delete(exited),
  })
  running.add(child)
  return child
}

/** Gives out the slots, introduces all to the first, and makes the second half replicas. */
async function joinCluster(clients: readonly Redis[], ports: readonly number[]): Promise<void> {
  const firsts = clients.slice(0, primaries)
  for (const [index, client] of firsts.entries()) {
    await client.cluster('SET-CONFIG-EPOCH', index + 1)
    const from = Math.floor((slots * index) / primaries)
    const to = Math.floor((slots * (index + 1)) / primaries) - 1
    await client.cluster('ADDSLOTSRANGE', from, to)
  }
  await introduce(clients, ports)
  const ids = await Promise.all(firsts.map((client) => client.cluster('MYID')))
  await eventually(
    async () => {
      for (const [index, client] of clients.slice(primaries).entries()) {
        try {
          await client.cluster('REPLICATE', ids[index] ?? '')
        } catch (error) {
          // On a busy machine a handshake may take longer than it may last: it is forgotten then.
          await introduce(clients, ports)
          throw error
        }
      }
    },
    { timeoutMs: 60_000, intervalMs: 200 },
  )
  await eventually(
    async () => {
      for (const client of clients) {
        const info = await client.cluster('INFO')
        if (!info.includes(`cluster_known_nodes:${clients.length}`)) {
          await introduce(clients, ports)
          throw new Error('not all met')
        }
        if (!info.includes('cluster_state:ok')) throw new Error('the cluster is not up yet')
      }
      for (const client of clients.slice(primaries)) {
        const [, , , link] = await client.role()
        if (link !== 'connected') throw new Error(`a replica is still ${String(link)}`)
      }
    },
    { timeoutMs: 60_000, intervalMs: 500 },
  )
}

/** Each to the first, who tells all others. */
async function introduce(clients: readonly Redis[], ports: readonly number[]): Promise<void> {
  const [first = 0] = ports
  for (const client of clients.slice(1)) {
    await client.call('CLUSTER', 'MEET', '127.0.0.1', first, first + 1)
  }
}

async function ownerOf(client: Redis | undefined, slot: number): Promise<number> {
  const ranges = (await client?.cluster('SLOTS')) as unknown as [number, number, [string, number]][]
  const range = ranges.find(([from, to]) => from <= slot && slot <= to)
  if (range === undefined) throw new Error(`nobody serves slot ${slot}`)
  return range[2][1]
}

/**
 * Each free, and the one above it for the bus. Below those that the kernel gives out by itself, or
 * somebody's connection may have one of them by the time it is used.
 */
async function freePorts(count: number): Promise<number[]> {
  const found: number[] = []
  while (found.length < count) {
    const port = 10_000 + 2 * Math.trunc(Math.random() * 10_000)
    const isFree = !found.includes(port) && (await canListen(port)) && (await canListen(port + 1))
    if (isFree) found.push(port)
  }
  return found
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.on('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
