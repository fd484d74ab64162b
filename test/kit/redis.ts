/**
 * A real Redis for one test file: its own process, its own data, on a unix socket in a temporary
 * directory. A mock would lie about Lua, expiry and blocking reads.
 *
 * It cannot outlive the tests: the kernel kills it with the process that started it (setpriv, where
 * there is one), and the exit of this process does so anywhere.
 */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { findOrInstallServer } from '../../runtime/redis/install.ts'
import { removeTemporaryDirectories, temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'
import type { NetworkHost } from './namespaces.ts'

export interface RedisServer {
  /** `unix://` and the path. */
  readonly url: string
  /** Path of the unix socket. */
  readonly path: string
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /**
   * Ends the server and removes its data; safe to call twice.
   * @throws Error if clients are still connected: whoever made them has not closed them
   */
  stop(): Promise<void>
  /** SIGKILL, as a crash would; the data stays for `restart`. */
  kill(): Promise<void>
  /** Ends the server if it runs, and starts it on the same data and socket. */
  restart(): Promise<void>
}

export interface RedisServerOptions {
  /** Default `everysec`. */
  appendfsync?: 'always' | 'everysec' | 'no'
  /** On port 6379 of a network of its own (namespaces.ts), as well as on its socket. */
  host?: NetworkHost
}

type Child = Bun.Subprocess<'ignore', 'ignore', 'ignore'>

const clientName = 'test-kit'
const running = new Set<Child>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Resolves when the server answers. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const program = await findOrInstallServer({ say: console.log })
  const directory = temporaryDirectory()
  const path = join(directory, 'redis.sock')
  let child = await launch(program, directory, path, options)
  let stopped: Promise<void> | undefined

  const stop = async (): Promise<void> => {
    const clients = running.has(child) ? await clientsLeft(path) : []
    await end(child)
    removeTemporaryDirectories([directory])
    if (clients.length > 0) {
      throw new Error(
        `expected every client of the test's Redis to be closed before it stops, ` +
          `${clients.length} still connected: ${clients.join(', ')}`,
      )
    }
  }
  return {
    url: `unix://${path}`,
    path,
    get pid() {
      return child.pid
    },
    stop: () => (stopped ??= stop()),
    kill: async () => {
      child.kill('SIGKILL')
      await child.exited
    },
    restart: async () => {
      if (stopped) throw new Error('restart: this Redis is stopped and its data removed')
      await end(child)
      child = await launch(program, directory, path, options)
    },
  }
}

async function launch(
  program: string,
  directory: string,
  path: string,
  { appendfsync = 'everysec', host }: RedisServerOptions,
): Promise<Child> {
  const settings = {
    ...(host === undefined ? { port: '0' } : { port: '6379', bind: host.address }),
    ...(host === undefined ? {} : { 'protected-mode': 'no' }),
    unixsocket: path,
    dir: directory,
    logfile: join(directory, 'redis.log'),
    appendonly: 'yes',
    appendfsync,
    save: '',
    'maxmemory-policy': 'noeviction',
  }
  const argv = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const guard = Bun.which('setpriv') ? ['setpriv', '--pdeathsig', 'KILL', '--'] : []
  const child = Bun.spawn([...guard, ...(host?.under ?? []), program, ...argv], {
    stdio: ['ignore', 'ignore', 'ignore'],
    onExit: (exited) => void running.delete(exited),
  })
  running.add(child)
  try {
    await eventually(
      async () => {
        // A server that has ended will not answer any more: no use in waiting.
        if (!running.has(child)) return
        const reply = await ask(path, 'PING')
        if (!reply.startsWith('+PONG')) throw new Error(`PING was answered with ${reply.trim()}`)
      },
      { timeoutMs: 30_000 },
    )
    if (!running.has(child)) throw new Error(`it exited with ${child.exitCode}`)
  } catch (error) {
    await end(child)
    throw new Error(`the test's Redis did not start: ${logOf(directory)}`, { cause: error })
  }
  return child
}

async function end(child: Child): Promise<void> {
  child.kill('SIGTERM')
  // A server stopped by SIGSTOP, or one in a long script, does not hear SIGTERM.
  const force = setTimeout(() => child.kill('SIGKILL'), 2000)
  await child.exited
  clearTimeout(force)
}

/** Clients other than us, after the moment the server needs to notice that one has gone. */
async function clientsLeft(path: string): Promise<string[]> {
  let clients: string[] = []
  try {
    await eventually(
      async () => {
        clients = await otherClients(path)
        if (clients.length > 0) throw new Error('there are clients')
      },
      { timeoutMs: 5000 },
    )
  } catch {
    // Still there; or the server does not answer, and so has nobody to tell of.
  }
  return clients
}

async function otherClients(path: string): Promise<string[]> {
  const list = await ask(path, 'CLIENT LIST')
  return list
    .split('\n')
    .filter((line) => line.startsWith('id=') && !line.includes(` name=${clientName} `))
    .map((line) => {
      const field = (name: string) => new RegExp(` ${name}=(\\S*)`).exec(line)?.[1] ?? ''
      return `${field('name') || 'unnamed'} (last command ${field('cmd')})`
    })
}

/** One command on a connection of its own; the reply as it comes over the wire. */
function ask(path: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = ''
    const socket = connect(path)
    socket.setTimeout(1000, () => socket.destroy(new Error(`no answer to ${command} within 1 s`)))
    socket.on('error', reject)
    socket.on('data', (data) => {
      received += String(data)
    })
    // +OK of CLIENT SETNAME first, then the reply, then +OK of QUIT.
    socket.on('close', () => resolve(received.replace(/^\+OK\r\n/, '')))
    socket.write(`CLIENT SETNAME ${clientName}\r\n${command}\r\nQUIT\r\n`)
  })
}

function logOf(directory: string): string {
  try {
    const lines = readFileSync(join(directory, 'redis.log'), 'utf8').trim().split('\n')
    return lines.slice(-3).join(' | ')
  } catch {
    // It ended before it could open its log: what it wanted to say is lost.
    return 'it wrote no log'
  }
}
