/**
 * A node as its users run it: `muster start`, a process of its own, at default settings, on a fresh
 * data directory with an embedded Redis. Nothing of the environment but PATH and HOME reaches it,
 * and it lies where no configuration file is.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { connect, type Muster } from '../../runtime/index.ts'
import { removeTemporaryDirectories, temporaryDirectory } from '../../test/kit/directory.ts'
import { eventually } from '../../test/kit/eventually.ts'
import { embeddedPid, endProcessesIn, nodeFiles } from '../../test/kit/muster.ts'
import { descendantsOf } from '../../test/kit/processes.ts'
import { type Usage, usageOf } from './usage.ts'

const program = join(import.meta.dir, '../../runtime/cli/muster')
const startLimitMs = 30_000
const stopLimitMs = 30_000

export interface NodeOptions {
  env?: Record<string, string>
  /** Further words of `muster start`. */
  words?: readonly string[]
  /** Of a node that was there before; it is kept at the end, too. */
  dataDir?: string
}

const running = new Set<BenchNode>()
// What a benchmark started must not outlive it, and an embedded Redis has a session of its own.
process.on('exit', () => {
  for (const { pid, dataDir } of running) {
    kill(pid)
    endProcessesIn(dataDir)
  }
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => process.exit(1))
}

export class BenchNode {
  readonly pid: number
  readonly url: string
  readonly dataDir: string
  /** From the start of the process until it can be reached. */
  readonly readyMs: number
  readonly muster: Muster
  readonly #ended: Promise<number>
  readonly #keeps: boolean

  private constructor(
    parts: Pick<BenchNode, 'pid' | 'url' | 'dataDir' | 'readyMs' | 'muster'>,
    ended: Promise<number>,
    keeps: boolean,
  ) {
    this.pid = parts.pid
    this.url = parts.url
    this.dataDir = parts.dataDir
    this.readyMs = parts.readyMs
    this.muster = parts.muster
    this.#ended = ended
    this.#keeps = keeps
  }

  /** Resolves when it says that it is ready. */
  static async start(options: NodeOptions = {}): Promise<BenchNode> {
    const dataDir = options.dataDir ?? temporaryDirectory()
    const stderr = join(dataDir, 'stderr.log')
    const mark = process.env['TEST_PROCESS_MARK']
    const begun = performance.now()
    const child = Bun.spawn(
      [program, '--data', dataDir, 'start', '--port', '0', ...(options.words ?? [])],
      {
        cwd: dataDir,
        env: {
          PATH: process.env['PATH'],
          HOME: process.env['HOME'] ?? dataDir,
          ...(mark === undefined ? {} : { TEST_PROCESS_MARK: mark }),
          ...options.env,
        },
        stdio: ['ignore', 'ignore', Bun.file(stderr)],
      },
    )
    try {
      const url = await readyUrl(dataDir, child)
      const readyMs = performance.now() - begun
      const muster = await connect({ url })
      const parts = { pid: child.pid, url, dataDir, readyMs, muster }
      const node = new BenchNode(parts, child.exited, options.dataDir !== undefined)
      running.add(node)
      return node
    } catch (error) {
      kill(child.pid)
      endProcessesIn(dataDir)
      throw new Error(`the node did not start: ${readFileSync(stderr, 'utf8')}`, { cause: error })
    }
  }

  get redisPid(): number {
    return embeddedPid(this.dataDir)
  }

  /** Of the node with its worker processes, and of its Redis. */
  usage(): { node: Usage; redis: Usage } {
    const { redisPid } = this
    // The embedded Redis, and what it forks to rewrite its file, are children of the node as well.
    const redisOnes = new Set([redisPid, ...descendantsOf(redisPid)])
    const own = descendantsOf(this.pid).filter((pid) => !redisOnes.has(pid))
    return { node: usageOf([this.pid, ...own]), redis: usageOf([redisPid]) }
  }

  /** INFO of its Redis, all sections, as field → value. */
  async redisInfo(): Promise<Map<string, string>> {
    const redis = new Redis({ path: join(this.dataDir, 'redis', 'redis.sock'), lazyConnect: true })
    try {
      await redis.connect()
      const lines = (await redis.info('everything')).split('\r\n')
      return new Map(lines.map((line) => [line.split(':')[0] ?? '', line.replace(/^[^:]*:/, '')]))
    } finally {
      // Kept open, it would keep the server running behind the node.
      redis.disconnect()
    }
  }

  /** The sum over all labels of a metric. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text()
    const samples = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))
    return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
  }

  async stop(): Promise<void> {
    kill(this.pid, 'SIGTERM')
    const force = setTimeout(() => kill(this.pid), stopLimitMs)
    await this.#ended
    clearTimeout(force)
    endProcessesIn(this.dataDir)
    running.delete(this)
    if (!this.#keeps) removeTemporaryDirectories([this.dataDir])
  }
}

async function readyUrl(dataDir: string, child: Bun.Subprocess): Promise<string> {
  const url = await eventually(
    async () => {
      // One that has ended will not come up any more.
      if (child.exitCode !== null) return undefined
      const found = nodeFiles(dataDir).find(({ pid }) => pid === child.pid)?.url
      if (found === undefined) throw new Error('it cannot be found yet')
      const { status } = await fetch(`${found}/readyz`)
      if (status !== 200) throw new Error(`/readyz answers ${status}`)
      return found
    },
    { timeoutMs: startLimitMs, intervalMs: 2 },
  )
  if (url === undefined) throw new Error(`it ended with ${child.exitCode}`)
  return url
}

function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself.
  }
}
