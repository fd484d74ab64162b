/** `muster lease ls` and `muster lease release`: who leads what. */
import { UsageError } from '../../actors/errors.ts'
import type { LeaseRecord } from '../../actors/ports-fleet.ts'
import { ago, elapsed } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { table } from './table.ts'

export interface ReleaseFlags {
  force?: boolean
  reason?: string
}

export async function leaseList(invocation: Invocation): Promise<number> {
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const leases = await located.muster.leases()
    const lines = terminal.json ? leases.map(lineOf) : leaseTable(leases, Date.now())
    if (terminal.json || leases.length > 0) {
      await terminal.print(lines.map((line) => `${line}\n`).join(''))
    } else terminal.say('nobody holds a lease; a node that is started takes those it contends for')
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

export async function leaseRelease(
  invocation: Invocation,
  name: string,
  { force, reason = '' }: ReleaseFlags,
): Promise<number> {
  if (force !== true) {
    throw new UsageError(
      `lease ${name}: expected --force, for its holder may be alive: it is fenced and another ` +
        'node leads. To take a node away in order: muster drain NODE',
    )
  }
  if (reason.trim() === '') {
    throw new UsageError(`lease ${name}: expected --reason TEXT: why it is taken, for the log`)
  }
  const { terminal } = invocation
  const located = await locate(invocation, { roles: [] })
  try {
    const record = await located.muster.releaseLease(name, reason)
    if (terminal.json) await terminal.print(`${lineOf(record)}\n`)
    else {
      const { holder, epoch } = record
      terminal.say(`lease ${name} was taken from ${holder} (epoch ${epoch}); see: muster lease ls`)
    }
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

function lineOf({ name, holder, epoch, since, ttlMs }: LeaseRecord): string {
  return JSON.stringify({ name, holder, epoch, since, ttlMs })
}

function leaseTable(leases: readonly LeaseRecord[], now: number): string[] {
  const rows = leases.map(({ name, holder, epoch, since, ttlMs }) => [
    name,
    holder,
    String(epoch),
    ago(since, now),
    elapsed(ttlMs),
  ])
  return table(['LEASE', 'HOLDER', 'EPOCH', 'SINCE', 'TTL'], rows)
}
