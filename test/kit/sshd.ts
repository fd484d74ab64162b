/**
 * A real sshd on a port of this machine, with keys and a configuration of its own: hosts to run
 * commands on. Nothing of the user's, or the system's, ssh is read or written.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'
import { eventually } from './eventually.ts'

const sshd = Bun.which('sshd', { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` })

/** Why there can be no such hosts here, if so. */
export function sshdProblem(): string | undefined {
  if (sshd === null) return 'there is no program sshd (Debian: apt-get install openssh-server)'
  if (Bun.which('ssh') === null) return 'there is no program ssh (Debian: openssh-client)'
  // As root it separates its privileges, in a directory that an init system would have made.
  if (process.getuid?.() !== 0) return undefined
  try {
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    return undefined
  } catch (error) {
    return `/run/sshd cannot be made: ${String(error)}`
  }
}

export interface SshHosts {
  /** Where each is reached: address and port. */
  readonly addresses: ReadonlyMap<string, string>
  /** For `ssh -F`: the key to log in with, and the hosts that are known. */
  readonly configFile: string
  readonly knownHosts: string
  /** Ends the server of a host and all of its connections, or begins it anew. */
  kill(host: string): Promise<void>
  /** Nobody there does anything any more, until it is thawed; connections stay open. */
  freeze(host: string): void
  thaw(host: string): void
  /** With another key of its own from now on: the server is to have been killed. */
  restartWithNewKey(host: string): Promise<void>
  stop(): Promise<void>
}

interface Server {
  port: number
  address: string
  hostKey: string
  child?: Bun.Subprocess
}

/** Each on an address of its own, 127.0.0.2 and up. */
export async function startSshHosts(names: readonly string[]): Promise<SshHosts> {
  const directory = temporaryDirectory()
  const path = (name: string) => join(directory, name)
  await keygen(path('login'))
  writeFileSync(path('authorized'), readFileSync(path('login.pub')))
  const servers = new Map<string, Server>()
  for (const [index, name] of names.entries()) {
    const address = `127.0.0.${index + 2}`
    const hostKey = path(`host-${name}`)
    await keygen(hostKey)
    servers.set(name, { port: await freePort(address), address, hostKey })
  }
  writeFileSync(
    path('known'),
    [...servers.values()]
      .map(({ address, port, hostKey }) => {
        const key = readFileSync(`${hostKey}.pub`, 'utf8').split(' ').slice(0, 2).join(' ')
        return `[${address}]:${port} ${key}\n`
      })
      .join(''),
  )
  const lines = [
    // Bun goes by the environment, which may not say.
    `User ${Bun.spawnSync(['id', '-un']).stdout.toString().trim()}`,
    `IdentityFile ${path('login')}`,
    'IdentitiesOnly yes',
    `UserKnownHostsFile ${path('known')}`,
    'GlobalKnownHostsFile /dev/null',
  ]
  writeFileSync(path('config'), `Host *\n  ${lines.join('\n  ')}\n`)
  const start = async (name: string) => {
    const server = serverOf(servers, name)
    const { address, port, hostKey } = server
    const config = path(`sshd-${name}`)
    const files = { hostKey, authorized: path('authorized'), home: path('home') }
    writeFileSync(config, serverConfig({ address, port, ...files }))
    const child = Bun.spawn([sshd ?? 'sshd', '-D', '-e', '-f', config], {
      stdio: ['ignore', 'ignore', Bun.file(path(`log-${name}`))],
    })
    server.child = child
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(readFileSync(path(`log-${name}`), 'utf8'))
      await connect(address, port)
    })
  }
  const kill = async (name: string) => {
    const { child } = serverOf(servers, name)
    if (child === undefined) return
    for (const pid of [...childrenOf(child.pid), child.pid]) end(pid)
    await child.exited
  }
  const signal = (name: string, word: 'SIGSTOP' | 'SIGCONT') => {
    const { child } = serverOf(servers, name)
    if (child === undefined) return
    for (const pid of [...childrenOf(child.pid), child.pid]) end(pid, word)
  }
  await Promise.all(names.map(start))
  return {
    addresses: new Map(
      [...servers].map(([name, { address, port }]) => [name, `${address}:${port}`]),
    ),
    configFile: path('config'),
    knownHosts: path('known'),
    kill,
    freeze: (name) => signal(name, 'SIGSTOP'),
    thaw: (name) => signal(name, 'SIGCONT'),
    async restartWithNewKey(name) {
      const server = serverOf(servers, name)
      server.hostKey = path(`host-${name}-new`)
      await keygen(server.hostKey)
      await start(name)
    },
    async stop() {
      await Promise.all(names.map(kill))
    },
  }
}

function serverOf(servers: ReadonlyMap<string, Server>, name: string): Server {
  const server = servers.get(name)
  if (server === undefined) throw new Error(`there is no host ${name}`)
  return server
}

interface ServerFiles {
  address: string
  port: number
  hostKey: string
  authorized: string
  home: string
}

function serverConfig(of: ServerFiles): string {
  return [
    `ListenAddress ${of.address}:${of.port}`,
    `HostKey ${of.hostKey}`,
    `AuthorizedKeysFile ${of.authorized}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'MaxSessions 100',
    'MaxStartups 100',
    'UseDNS no',
    // Else bash reads the user's own .bashrc for every command, whatever that does; killed in the
    // middle of it, as tests do, it may leave a lock there on which all later ones wait.
    `SetEnv HOME=${of.home}`,
    '',
  ].join('\n')
}

async function keygen(path: string): Promise<void> {
  const child = Bun.spawn(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', path], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if ((await child.exited) !== 0 || !existsSync(path)) throw new Error('ssh-keygen failed')
  chmodSync(path, 0o600)
}

function freePort(address: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const server = createServer()
  server.once('error', reject)
  server.listen(0, address, () => {
    const at = server.address()
    server.close(() => resolve(typeof at === 'object' && at !== null ? at.port : 0))
  })
  return promise
}

async function connect(hostname: string, port: number): Promise<void> {
  const socket = await Bun.connect({ hostname, port, socket: { data() {} } })
  socket.end()
}

/** The processes that serve its connections. */
function childrenOf(pid: number): number[] {
  const found: number[] = []
  const visit = (parent: number) => {
    const file = `/proc/${parent}/task/${parent}/children`
    const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
    for (const child of text.split(' ').filter(Boolean).map(Number)) {
      visit(child)
      found.push(child)
    }
  }
  visit(pid)
  return found
}

function end(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself.
  }
}
