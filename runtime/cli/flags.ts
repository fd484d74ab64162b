/** How the words after flags are read. */
import { InvalidArgumentError } from 'commander'
import { parseDuration } from '../../config/duration.ts'
import { expandNodeset } from '../../machines/nodeset.ts'
import { checkKey } from '../idempotency-key.ts'

export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms !== undefined) return ms
  throw new InvalidArgumentError(`expected a duration like 500ms, 10s, 2m or 1h, got '${text}'`)
}

export function parseKey(text: string): string {
  checkKey('--idempotency-key', text)
  return text
}

export function parseCount(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) {
    throw new InvalidArgumentError(`expected a whole number of at least 1, got '${text}'`)
  }
  return Number(text)
}

export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw new InvalidArgumentError(`expected a port, 0 to 65535, got '${text}'`)
  }
  return Number(text)
}

export function collect(value: string, all: string[] | undefined): string[] {
  return [...(all ?? []), value]
}

const roles = ['dispatcher', 'worker', 'collector'] as const
type Role = (typeof roles)[number]

export function collectRoles(value: string, all: Role[] | undefined): Role[] {
  const named = value.split(',').map((word) => {
    const role = roles.find((each) => each === word)
    if (role === undefined) {
      throw new InvalidArgumentError(`expected some of ${roles.join(',')}, got '${word}'`)
    }
    return role
  })
  return [...(all ?? []), ...named]
}

export function collectLabels(
  value: string,
  all: Record<string, string> | undefined,
): Record<string, string> {
  const at = value.indexOf('=')
  if (at < 1) throw new InvalidArgumentError(`expected NAME=VALUE, got '${value}'`)
  return { ...all, [value.slice(0, at)]: value.slice(at + 1) }
}

/** A set of hosts as in `web[001-040],db1`; given more than once, all of them. */
export function collectHosts(value: string, all: string[] | undefined): string[] {
  const set = expandNodeset(value)
  if ('problem' in set) throw new InvalidArgumentError(set.problem)
  return [...new Set([...(all ?? []), ...set.hosts])]
}
