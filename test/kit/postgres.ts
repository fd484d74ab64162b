/**
 * A real PostgreSQL for one test file: its own process, its own data, on a unix socket in a
 * temporary directory. It refuses to be root; then it is the user `postgres` that its package made.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { removeTemporaryDirectories, temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'

/** Where Debian has it: beside the PATH, for several versions may be there. */
const debian = '/usr/lib/postgresql'
const user = 'muster'
/** Needless on a unix socket where everybody is trusted, and not to be seen anywhere. */
export const postgresPassword = 'hunter2'

export interface PostgresServer {
  /** With a password in it. */
  readonly url: string
  /** Of its main process. */
  readonly pid: number
  /** Asks it, on a connection of its own. */
  ask(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** Rows of a run in the result store, by seq. None where there is no store yet. */
  rowsOf(run: string): Promise<{ seq: number; outcome: number }[]>
  /** Forgets everything that is in it. */
  clear(): Promise<void>
  /** As a crash would: connections break, and nothing is written any more; the data stays. */
  crash(): Promise<void>
  /** On the same data and socket. */
  start(): Promise<void>
  /** SIGSTOP or SIGCONT to all of its processes. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void
  /** Ends it and removes its data; safe to call twice. */
  stop(): Promise<void>
}

/** Why there can be none here, if so. */
export function postgresProblem(): string | undefined {
  if (programs() === undefined) {
    return 'there is no PostgreSQL (Debian: apt-get install postgresql)'
  }
  if (process.getuid?.() !== 0) return undefined
  if (Bun.which('setpriv') === null) return 'PostgreSQL refuses root, and there is no setpriv'
  return idsOf('postgres') === undefined ? 'PostgreSQL refuses root; no user postgres' : undefined
}

/** The folder of the newest, undefined where there is none. */
function programs(): string | undefined {
  const versions = existsSync(debian) ? readdirSync(debian).map(Number) : []
  const folders = versions.sort((a, b) => b - a).map((version) => `${debian}/${version}/bin`)
  const onPath = Bun.which('initdb')
  if (onPath !== null) folders.unshift(join(onPath, '..'))
  return folders.find((folder) => existsSync(join(folder, 'initdb')))
}

/** Resolves when it answers. */
export async function startPostgres(): Promise<PostgresServer> {
  const folder = programs()
  if (folder === undefined) throw new Error(postgresProblem())
  const directory = temporaryDirectory()
  const under = await userFor(directory)
  const data = join(directory, 'data')
  const own = ['--auth=trust', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync', '-U', user]
  const made = Bun.spawnSync([...under, join(folder, 'initdb'), '-D', data, ...own], {
    cwd: directory,
  })
  if (made.exitCode !== 0) throw new Error(`initdb: ${made.stderr.toString()}`)
  const url = `postgres://${user}:${postgresPassword}@/postgres?host=${directory}`
  const launch = async () => {
    const settings = { listen_addresses: '', unix_socket_directories: directory }
    const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const log = join(directory, 'log')
    const child = Bun.spawn([...under, join(folder, 'postgres'), '-D', data, ...words], {
      cwd: directory,
      stdio: ['ignore', Bun.file(log), Bun.file(log)],
    })
    await eventually(
      async () => {
        if (child.exitCode !== null) throw new Error(readFileSync(log, 'utf8'))
        await asked(url, 'select 1')
      },
      { timeoutMs: 40_000, intervalMs: 50 },
    )
    return child
  }
  let child = await launch()
  /** At once, without a last word to its clients. */
  const crash = async () => {
    child.kill('SIGQUIT')
    await child.exited
  }
  const ask = (text: string, values: unknown[] = []) => asked(url, text, values)
  return {
    url,
    get pid() {
      return child.pid
    },
    ask,
    async rowsOf(run) {
      const [store] = await ask("select to_regclass('muster.result') is not null as made")
      if (store?.['made'] !== true) return []
      const text = 'select seq, outcome from muster.result where run = $1 order by seq'
      return (await ask(text, [run])) as { seq: number; outcome: number }[]
    },
    clear: async () => void (await ask('drop schema if exists muster cascade')),
    crash,
    async start() {
      child = await launch()
    },
    signal(signal) {
      for (const pid of [...childrenOf(child.pid), child.pid]) tell(pid, signal)
    },
    async stop() {
      await crash()
      removeTemporaryDirectories([directory])
    },
  }
}

/** Words before a program, so that it is not root; the directory is that user's then. */
async function userFor(directory: string): Promise<string[]> {
  const guard = Bun.which('setpriv') === null ? [] : ['setpriv', '--pdeathsig', 'QUIT']
  if (process.getuid?.() !== 0) return guard.length === 0 ? [] : [...guard, '--']
  const ids = idsOf('postgres')
  if (ids === undefined) throw new Error(postgresProblem())
  await chown(directory, ids.uid, ids.gid)
  return [...guard, `--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups', '--']
}

function idsOf(name: string): { uid: number; gid: number } | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`${name}:`))
  const [, , uid, gid] = line?.split(':') ?? []
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

async function asked(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  // Told to whoever asks as well.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const { rows } = await client.query<Record<string, unknown>>(text, values)
    return rows
  } finally {
    await client.end()
  }
}

/** One that serves nobody any more may end meanwhile. */
function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.split(' ').filter(Boolean).map(Number)
}
