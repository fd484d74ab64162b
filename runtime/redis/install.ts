/**
 * Finds a Redis server program, or gets one. Only where that is safe and expected: on Debian and
 * its kin, as root, unless forbidden. Debian's package starts its own server on port 6379 right
 * away and at every boot; nobody asked for that one, so it is kept from starting.
 */
import { existsSync, readFileSync } from 'node:fs'
import { UnavailableError } from '../../actors/errors.ts'

/** What is looked at of the machine, and the one way to change it. */
export interface Machine {
  /** Where a program is, by PATH. */
  which(program: string): string | undefined
  uid: number
  platform: string
  /** Text of /etc/os-release. */
  osRelease: string
  systemd: boolean
  env: Readonly<Record<string, string | undefined>>
  run(argv: readonly string[], env: Record<string, string>): Promise<CommandResult>
}

export interface CommandResult {
  exitCode: number
  output: string
}

export interface ServerSearch {
  /** One line for the user. */
  say: (line: string) => void
  machine?: Machine
}

export function thisMachine(): Machine {
  return {
    which: (program) => Bun.which(program, { PATH: process.env['PATH'] ?? '' }) ?? undefined,
    uid: process.getuid?.() ?? -1,
    platform: process.platform,
    osRelease: existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '',
    systemd: existsSync('/run/systemd/system'),
    env: process.env,
    run: runCommand,
  }
}

async function runCommand(
  argv: readonly string[],
  env: Record<string, string>,
): Promise<CommandResult> {
  const child = Bun.spawn([...argv], {
    env: { ...process.env, ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { exitCode, output: stdout + stderr }
}

export function findServer(machine: Machine = thisMachine()): string | undefined {
  return machine.which('redis-server') ?? machine.which('valkey-server')
}

/**
 * The path of a server program, installed if need be and allowed. Throws UnavailableError
 * REDIS_SERVER_MISSING, which says how to get one and how to do without.
 */
export async function findOrInstallServer(search: ServerSearch): Promise<string> {
  const machine = search.machine ?? thisMachine()
  const found = findServer(machine)
  if (found) return found
  if (!mayInstall(machine)) throw serverMissing(machine, 'there is none on the PATH')
  search.say('No redis-server here: installing it with apt-get (MUSTER_NO_INSTALL=1 forbids it).')
  const failure = await install(machine)
  const installed = findServer(machine)
  if (!installed) throw serverMissing(machine, failure ?? 'apt-get installed none on the PATH')
  return installed
}

function mayInstall(machine: Machine): boolean {
  const forbidden = machine.env['MUSTER_NO_INSTALL'] ?? ''
  if (forbidden !== '' && forbidden !== '0') return false
  return machine.uid === 0 && isDebian(machine) && machine.which('apt-get') !== undefined
}

const aptInstall = ['apt-get', 'install', '-y', '--no-install-recommends', 'redis-server']
const unit = 'redis-server.service'

/** What went wrong, or undefined. */
async function install(machine: Machine): Promise<string | undefined> {
  const env = {
    DEBIAN_FRONTEND: 'noninteractive',
    LC_ALL: 'C.UTF-8',
    NEEDRESTART_SUSPEND: '1',
    // Where there is no systemd, the package starts its server through invoke-rc.d, which asks
    // runlevel(8), which believes these: no service starts in single-user mode.
    RUNLEVEL: '1',
    PREVLEVEL: 'N',
  }
  const argv = [...aptInstall, '-o', 'DPkg::Lock::Timeout=60']
  const policy = await machine.run(['apt-cache', 'policy', 'redis-server'], env)
  const known = /Candidate: (?!\(none\))/.test(policy.output)
  if (machine.systemd) await machine.run(['systemctl', 'mask', '--runtime', unit], env)
  try {
    let result = known ? await machine.run(argv, env) : undefined
    if (result?.exitCode !== 0) {
      // The lists are missing, or older than what the mirror still has.
      const update = await machine.run(['apt-get', 'update'], env)
      result = update.exitCode === 0 ? await machine.run(argv, env) : update
    }
    return result.exitCode === 0 ? undefined : `apt-get failed: ${lastLines(result.output)}`
  } finally {
    if (machine.systemd) {
      await machine.run(['systemctl', 'unmask', '--runtime', unit], env)
      await machine.run(['systemctl', 'disable', '--now', unit], env)
    }
  }
}

function lastLines(output: string): string {
  return output.trim().split('\n').slice(-3).join(' | ')
}

function serverMissing(machine: Machine, reason: string): UnavailableError {
  return new UnavailableError(
    `Muster needs a redis-server or valkey-server program and ${reason}. Install it: ` +
      `${installCommand(machine)}. Or use a Redis that runs: --redis URL. ` +
      'Or do without, nothing durable: --ephemeral.',
    { code: 'REDIS_SERVER_MISSING' },
  )
}

/** The command that gets a server program on this platform. */
export function installCommand(machine: Machine): string {
  const sudo = machine.uid === 0 ? '' : 'sudo '
  const system = systemNames(machine)
  if (machine.platform === 'darwin') return 'brew install redis'
  if (isDebian(machine)) return `${sudo}apt-get install -y redis-server`
  if (system.includes('alpine')) return `${sudo}apk add redis`
  if (system.includes('arch')) return `${sudo}pacman -S valkey`
  if (['fedora', 'rhel', 'centos', 'amzn'].some((name) => system.includes(name))) {
    return `${sudo}dnf install -y ${hasRedisPackage(machine) ? 'redis' : 'valkey'}`
  }
  return 'install the package redis or valkey with the package manager'
}

/** Red Hat's family had Redis until version 9; Fedora and Amazon Linux have Valkey. */
function hasRedisPackage(machine: Machine): boolean {
  const names = systemNames(machine)
  if (names[0] === 'fedora' || names[0] === 'amzn') return false
  return Number.parseInt(osField(machine, 'VERSION_ID'), 10) <= 9
}

function isDebian(machine: Machine): boolean {
  return systemNames(machine).some((name) => name === 'debian' || name === 'ubuntu')
}

function systemNames(machine: Machine): string[] {
  return [osField(machine, 'ID'), ...osField(machine, 'ID_LIKE').split(' ')].filter(Boolean)
}

function osField(machine: Machine, name: string): string {
  const line = machine.osRelease.split('\n').find((text) => text.startsWith(`${name}=`))
  return line?.slice(name.length + 1).replace(/^["']|["']$/g, '') ?? ''
}
