/** Where the figures were measured: they mean nothing without it. */
import { Database } from 'bun:sqlite'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { findOrInstallServer } from '../../runtime/redis/install.ts'

export interface Machine {
  cores: number
  processor: string
  memoryGiB: number
  system: string
  /** Processes that wanted a core in the minute before: what is not ours, when it began. */
  loadBefore: number
  bun: string
  redis: string
  bullmq: string
  sqlite: string
  /** When Redis syncs its append-only file. */
  fsync: 'everysec' | 'always'
}

export async function describeMachine(): Promise<Machine> {
  const database = new Database(':memory:')
  const sqlite = database.query<{ version: string }, []>('select sqlite_version() as version').get()
  database.close()
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${process.platform} ${release()}`,
    loadBefore: Number(loadavg()[0]?.toFixed(2)),
    bun: Bun.version,
    redis: await redisVersion(),
    bullmq: packageVersion('bullmq'),
    sqlite: sqlite?.version ?? 'unknown',
    fsync: 'everysec',
  }
}

async function redisVersion(): Promise<string> {
  const program = await findOrInstallServer({ say: console.error })
  const text = Bun.spawnSync([program, '--version']).stdout.toString()
  return /v=(\S+)/.exec(text)?.[1] ?? text.trim()
}

function packageVersion(name: string): string {
  const file = join(import.meta.dir, '../../node_modules', name, 'package.json')
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

/** One line for people. */
export function machineLine(machine: Machine): string {
  const { cores, processor, memoryGiB, bun, redis, bullmq, sqlite, fsync } = machine
  const versions = `Bun ${bun}, Redis ${redis}, BullMQ ${bullmq}, SQLite ${sqlite}`
  const size = `${cores} cores (${processor}), ${memoryGiB} GiB`
  return `${size}; ${versions}; AOF ${fsync}; load before ${machine.loadBefore}`
}
