/**
 * A program with a directory that is soon full: a tmpfs of a few megabytes, in a mount namespace of
 * the program's own, so that nothing of it is left when the program has ended. Who is not root has
 * a user namespace as well.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'

/** Words before a program to which the directory, which has to be there, is so big. */
export function withSmallDisk(directory: string, mebibytes: number): readonly string[] {
  const namespaces = process.getuid?.() === 0 ? '-m' : '-rm'
  const script = `mount -t tmpfs -o size=${mebibytes}m tmpfs "$0" && exec "$@"`
  return ['unshare', namespaces, 'sh', '-c', script, directory]
}

/** Why there can be none here, if so. */
export function smallDiskProblem(): string | undefined {
  if (process.platform !== 'linux') return `mount namespaces are of Linux, not ${process.platform}`
  if (Bun.which('unshare') === null) return 'there is no program unshare (Debian: util-linux)'
  const directory = join(temporaryDirectory(), 'small')
  mkdirSync(directory)
  const tried = Bun.spawnSync([...withSmallDisk(directory, 1), 'true'])
  return tried.exitCode === 0 ? undefined : `no tmpfs: ${tried.stderr.toString().trim()}`
}
