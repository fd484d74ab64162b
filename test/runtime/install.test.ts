import { describe, expect, test } from 'bun:test'
import { UnavailableError } from '../../actors/errors.ts'
import type { Machine } from '../../runtime/redis/install.ts'
import { findOrInstallServer, installCommand } from '../../runtime/redis/install.ts'

describe('the server program', () => {
  const debian = 'ID=debian\nVERSION_ID="12"\n'

  function machine(
    change: Partial<Machine> & { programs?: string[] },
  ): Machine & { ran: string[] } {
    const ran: string[] = []
    const programs = new Set(change.programs ?? [])
    return {
      which: (program) => (programs.has(program) ? `/usr/bin/${program}` : undefined),
      uid: 0,
      platform: 'linux',
      osRelease: debian,
      systemd: false,
      env: {},
      run: async (argv) => {
        const command = argv.join(' ')
        ran.push(command)
        if (command.startsWith('apt-get install')) programs.add('redis-server')
        const output = command.startsWith('apt-cache') ? '  Candidate: 5:7.0.15-1\n' : ''
        return { exitCode: 0, output }
      },
      ran,
      ...change,
    }
  }

  const refusal = (on: Machine): Promise<unknown> =>
    findOrInstallServer({ say: () => {}, machine: on }).catch((error: unknown) => error)

  test('is redis-server, or else valkey-server', async () => {
    const say = (line: string): void => expect(line).toBe('')
    const both = machine({ programs: ['valkey-server', 'redis-server'] })
    expect(await findOrInstallServer({ say, machine: both })).toBe('/usr/bin/redis-server')
    const valkey = machine({ programs: ['valkey-server'] })
    expect(await findOrInstallServer({ say, machine: valkey })).toBe('/usr/bin/valkey-server')
  })

  test('is installed on Debian by root, in one line', async () => {
    const said: string[] = []
    const on = machine({ programs: ['apt-get'] })
    const path = await findOrInstallServer({ say: (line) => said.push(line), machine: on })
    expect(path).toBe('/usr/bin/redis-server')
    expect(said).toHaveLength(1)
    expect(on.ran.filter((command) => command.startsWith('apt-get'))).toEqual([
      'apt-get install -y --no-install-recommends redis-server -o DPkg::Lock::Timeout=60',
    ])
  })

  test('does not become a service of the system', async () => {
    const on = machine({ programs: ['apt-get'], systemd: true })
    await findOrInstallServer({ say: () => {}, machine: on })
    const order = on.ran.map((command) => command.split(' ').slice(0, 2).join(' '))
    expect(order).toEqual([
      'apt-cache policy',
      'systemctl mask',
      'apt-get install',
      'systemctl unmask',
      'systemctl disable',
    ])
  })

  test('is looked for in fresh lists when the old ones do not have it', async () => {
    const ran: string[] = []
    const programs = new Set(['apt-get'])
    const on = machine({
      which: (program) => (programs.has(program) ? program : undefined),
      run: async (argv) => {
        ran.push(argv.slice(0, 2).join(' '))
        if (argv[1] === 'install') programs.add('redis-server')
        return { exitCode: 0, output: argv[1] === 'policy' ? '  Candidate: (none)\n' : '' }
      },
    })
    await findOrInstallServer({ say: () => {}, machine: on })
    expect(ran).toEqual(['apt-cache policy', 'apt-get update', 'apt-get install'])
  })

  test('is never installed against the will of the user, nor by another than root', async () => {
    const unwilling = machine({ programs: ['apt-get'], env: { MUSTER_NO_INSTALL: '1' } })
    const mortal = machine({ programs: ['apt-get'], uid: 1000 })
    const elsewhere = machine({ programs: ['apt-get'], osRelease: 'ID=fedora\nVERSION_ID=42\n' })
    for (const on of [unwilling, mortal, elsewhere]) {
      const error = await refusal(on)
      expect(error).toBeInstanceOf(UnavailableError)
      expect(error).toMatchObject({ code: 'REDIS_SERVER_MISSING' })
      expect(on.ran).toEqual([])
    }
    expect(String(await refusal(mortal))).toContain('sudo apt-get install -y redis-server')
    expect(String(await refusal(mortal))).toContain('--redis URL')
    expect(String(await refusal(mortal))).toContain('--ephemeral')
  })

  test('says what went wrong when it cannot be installed', async () => {
    const on = machine({
      programs: ['apt-get'],
      run: async () => ({ exitCode: 100, output: 'E: Unable to locate package redis-server\n' }),
    })
    expect(String(await refusal(on))).toContain('E: Unable to locate package')
  })

  test('has the right command for each platform', () => {
    const command = (osRelease: string, change: Partial<Machine> = {}): string =>
      installCommand(machine({ osRelease, ...change }))
    expect(command(debian)).toBe('apt-get install -y redis-server')
    expect(command('ID=ubuntu\nID_LIKE=debian\n', { uid: 1 })).toMatch(/^sudo apt-get install/)
    expect(command('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n')).toBe(
      'dnf install -y redis',
    )
    expect(command('ID=fedora\nVERSION_ID=42\n')).toBe('dnf install -y valkey')
    expect(command('ID=alpine\nVERSION_ID=3.20.1\n')).toBe('apk add redis')
    expect(command('', { platform: 'darwin', uid: 501 })).toBe('brew install redis')
  })
})
