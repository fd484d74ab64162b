/** Where this process is in the cgroup hierarchies, and what of them it may use. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface CgroupPlaces {
  /** Our directory in the one hierarchy of version 2. */
  unified?: string
  /** Our directories in those of version 1. */
  memory?: string
  pids?: string
}

/** Nothing where this is no Linux, or none is mounted. */
export function cgroupPlaces(
  mountinfo = textOf('/proc/self/mountinfo'),
  cgroup = textOf('/proc/self/cgroup'),
): CgroupPlaces {
  const paths = new Map<string, string>()
  for (const line of cgroup.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (path === undefined) continue
    for (const name of (controllers ?? '').split(',')) paths.set(name, path)
  }
  const places: CgroupPlaces = {}
  for (const line of mountinfo.split('\n')) {
    const mount = mountOf(line)
    if (mount === undefined) continue
    const place = (name: string) => below(mount, paths.get(name))
    if (mount.type === 'cgroup2') {
      const unified = place('')
      if (unified !== undefined) places.unified ??= unified
      continue
    }
    for (const name of ['memory', 'pids'] as const) {
      const path = mount.options.includes(name) ? place(name) : undefined
      if (path !== undefined) places[name] ??= path
    }
  }
  return places
}

interface Mount {
  root: string
  point: string
  type: 'cgroup' | 'cgroup2'
  options: string[]
}

function mountOf(line: string): Mount | undefined {
  const [before, after] = line.split(' - ')
  const [, , , root, point] = before?.split(' ') ?? []
  const [type, , options] = after?.split(' ') ?? []
  if (root === undefined || point === undefined) return undefined
  if (type !== 'cgroup' && type !== 'cgroup2') return undefined
  return { root, point: unescaped(point), type, options: (options ?? '').split(',') }
}

/** A container sees its own part of a hierarchy mounted as if it were all of it. */
function below({ root, point }: Mount, path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  if (root === '/' || root === path) return join(point, root === path ? '' : path)
  return path.startsWith(`${root}/`) ? join(point, path.slice(root.length)) : undefined
}

function unescaped(point: string): string {
  return point.replace(/\\(\d{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // No such file where this is no Linux.
    return ''
  }
}
