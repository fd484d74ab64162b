/** A root file system for containers: busybox-static, and nothing else. */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'

const applets = 'sh cat ls echo sleep touch rm true false head tail dd env kill mount test mkdir'

/** Why there can be none here, if so. */
export function rootProblem(): string | undefined {
  if (process.platform !== 'linux') return `containers are of Linux, not ${process.platform}`
  const wanted = { busybox: 'busybox-static', bwrap: 'bubblewrap', nsenter: 'util-linux' }
  for (const [program, name] of Object.entries(wanted)) {
    if (Bun.which(program) === null) return `no ${program} (Debian: apt-get install ${name})`
  }
  return undefined
}

/** Makes one in a directory of its own, which is removed when the test file ends. */
export function makeRoot(): string {
  const root = temporaryDirectory()
  for (const name of ['bin', 'etc', 'tmp']) mkdirSync(join(root, name))
  copyFileSync(Bun.which('busybox') ?? '/bin/busybox', join(root, 'bin', 'busybox'))
  for (const applet of applets.split(' ')) symlinkSync('busybox', join(root, 'bin', applet))
  writeFileSync(join(root, 'etc', 'base'), 'as it was\n')
  return root
}
