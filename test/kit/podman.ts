/**
 * A real Podman with a store of its own and an image of busybox. On a machine with hybrid cgroups
 * crun takes version 2 for the whole of it, so there it does not see that and uses no cgroups.
 */
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'
import { makeRoot, rootProblem } from './rootfs.ts'

export interface Podman {
  /** To be used in place of `podman`. */
  readonly program: string
  readonly image: string
  /** Imports a root file system as another image. */
  import(root: string, image: string): void
  run(...words: string[]): { code: number; output: string }
  /** Removes every container, and the store. */
  remove(): void
}

/** Why it cannot run here, if so; else one that runs. */
export function startPodman(): Podman | string {
  const problem = rootProblem()
  if (problem !== undefined) return problem
  for (const [program, name] of [
    ['podman', 'podman'],
    ['crun', 'crun'],
  ] as const) {
    if (Bun.which(program) === null) return `no ${program} (Debian: apt-get install ${name})`
  }
  if (process.getuid?.() !== 0) return 'this Podman is only set up for root'
  const home = temporaryDirectory()
  const program = join(home, 'podman')
  writeFileSync(program, wrapper(home))
  chmodSync(program, 0o755)
  const run = (...words: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([program, ...words], { timeout: 60_000 })
    return { code: exitCode, output: `${stdout.toString()}${stderr.toString()}` }
  }
  const image = 'localhost/muster-test:1'
  const tar = join(home, 'image.tar')
  Bun.spawnSync(['tar', '-C', makeRoot(), '-cf', tar, '.'])
  const podman: Podman = {
    program,
    image,
    import(root, name) {
      const packed = join(home, 'other.tar')
      Bun.spawnSync(['tar', '-C', root, '-cf', packed, '.'])
      const { code, output } = run('import', packed, name)
      if (code !== 0) throw new Error(`podman import: ${output.trim()}`)
    },
    run,
    remove: () => void run('rm', '--all', '--force', '--time', '0'),
  }
  const imported = run('import', tar, image)
  if (imported.code !== 0) return `podman import: ${imported.output.trim()}`
  const tried = run('run', '--rm', '--network', 'none', image, 'true')
  return tried.code === 0 ? podman : `podman run: ${tried.output.trim()}`
}

/** `run` gets what it needs here: limits that this process may set, and no cgroups if hybrid. */
function wrapper(home: string): string {
  const isHybrid = existsSync('/sys/fs/cgroup/unified')
  const settings = [
    '--ulimit nofile=1024:1024',
    '--ulimit nproc=1024:1024',
    ...(isHybrid ? ['--cgroups=disabled'] : []),
  ]
  const podman = `podman --root ${home}/store --runroot ${home}/run --storage-driver vfs`
  const hidden = `umount /sys/fs/cgroup/unified; exec ${podman} "$@"`
  const under = `unshare --mount --propagation slave sh -c '${hidden}' podman`
  return `#!/bin/sh
if [ "$1" = run ]; then shift; set -- run ${settings.join(' ')} "$@"; fi
exec ${isHybrid ? under : podman} "$@"
`
}
