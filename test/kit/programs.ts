/**
 * Programs beside redis-server that some tests run against. On Debian as root they are installed,
 * unless MUSTER_NO_INSTALL forbids it; elsewhere those tests are skipped, and say so.
 */
import { readFileSync } from 'node:fs'

/** By the program on the PATH: its Debian package. */
const packages: Readonly<Record<string, string>> = {
  prometheus: 'prometheus',
  sshd: 'openssh-server',
  chromium: 'chromium',
  bwrap: 'bubblewrap',
  busybox: 'busybox-static',
  podman: 'podman',
  crun: 'crun',
  pg_ctlcluster: 'postgresql',
}

/** Nobody asked for the services that come with them. */
const env = {
  ...process.env,
  DEBIAN_FRONTEND: 'noninteractive',
  LC_ALL: 'C.UTF-8',
  NEEDRESTART_SUSPEND: '1',
  // invoke-rc.d asks runlevel(8), which believes these: nothing starts in single-user mode.
  RUNLEVEL: '1',
  PREVLEVEL: 'N',
}

function isDebian(): boolean {
  try {
    return /^ID(_LIKE)?=.*(debian|ubuntu)/m.test(readFileSync('/etc/os-release', 'utf8'))
  } catch {
    return false
  }
}

function mayInstall(): boolean {
  const forbidden = process.env['MUSTER_NO_INSTALL'] ?? ''
  if (forbidden !== '' && forbidden !== '0') return false
  return process.getuid?.() === 0 && isDebian() && Bun.which('apt-get') !== null
}

function aptGet(...words: string[]): boolean {
  const { success } = Bun.spawnSync(['apt-get', '-o', 'DPkg::Lock::Timeout=60', ...words], {
    env,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
  })
  return success
}

/** Where systemd runs, the services of what is installed are kept from starting. */
function withoutServices(names: readonly string[], act: () => void): void {
  const systemctl = (...words: string[]) => {
    if (Bun.which('systemctl') !== null) Bun.spawnSync(['systemctl', ...words])
  }
  const units = names.map((name) => `${name}.service`)
  systemctl('mask', '--runtime', ...units)
  act()
  systemctl('unmask', '--runtime', ...units)
  systemctl('disable', '--now', ...units)
}

/** Resolves when what can be had is there; says what could not, and is no failure. */
export function installPrograms(say: (line: string) => void): void {
  const isMissing = (program: string) => Bun.which(program) === null
  const missing = Object.keys(packages).filter(isMissing)
  if (missing.length === 0) return
  const names = missing.map((program) => packages[program] ?? program)
  if (mayInstall()) {
    say(`installing ${names.join(', ')} with apt-get (MUSTER_NO_INSTALL=1 forbids it)`)
    withoutServices(names, () => {
      const install = ['install', '-y', '--no-install-recommends', ...names]
      // The lists may be missing, or older than what the mirror still has.
      if (!aptGet(...install) && aptGet('update')) aptGet(...install)
    })
  }
  const lacking = missing.filter(isMissing)
  if (lacking.length > 0) say(`no ${lacking.join(', ')} here: what needs them is skipped`)
}
