/** What those who keep members and those who show them have in common. */
import type { Fault } from '../machines/supervision.ts'
import { ConflictError } from './errors.ts'
import type { Member, MemberRecord } from './ports-fleet.ts'

/** How long a dead node is listed, ms. */
export const deadListedMs = 3_600_000

/** Another boot of this node id is there: two of one name would take each other's work. */
export class LiveTwinError extends ConflictError {
  /** It would be refused again until the twin is gone, and that is for people to decide. */
  override readonly fault: Fault = 'fatal'
  readonly twin: MemberRecord
  constructor(twin: MemberRecord, staleMs: number) {
    super(
      `a node "${twin.id}" is running already: ${placeOf(twin)}. Stop it, or name this one ` +
        `otherwise with --node-id; if it has died, its name is free ${staleMs} ms after it was ` +
        'last seen',
      'LIVE_TWIN',
    )
    this.twin = twin
  }
}

/** Others have been told that this boot is dead, and may have its work: it has to stop. */
export class DisplacedError extends ConflictError {
  /** The whole node has to go, not its membership alone. */
  override readonly fault: Fault = 'fatal'
  constructor({ id, boot }: Pick<Member, 'id' | 'boot'>, successor: Member | undefined) {
    const why =
      successor === undefined
        ? 'it was silent for too long, or replaced, and its work was given to others'
        : `its name was taken over by ${placeOf(successor)}`
    super(`boot ${boot} of node "${id}" counts as dead and has to stop: ${why}`, 'DISPLACED')
  }
}

function placeOf({ host, pid, url }: Pick<Member, 'host' | 'pid' | 'url'>): string {
  return `pid ${pid} on host ${host}${url === undefined ? '' : ` at ${url}`}`
}

/** Order of lists: by id; of one id first the one that lives, then the one that died last. */
export function compareMembers(a: MemberRecord, b: MemberRecord): number {
  if (a.id !== b.id) return a.id < b.id ? -1 : 1
  if ((a.state === 'dead') !== (b.state === 'dead')) return a.state === 'dead' ? 1 : -1
  return b.lastSeen - a.lastSeen
}

const publicFields = [
  'id',
  'boot',
  'pid',
  'host',
  'state',
  'roles',
  'labels',
  'kinds',
  'load',
  'lastSeen',
] as const

/** A node as it is shown: contract section 4, `nodes`. Times are epoch ms, by Redis's clock. */
export type NodeLine = Pick<MemberRecord, (typeof publicFields)[number]>

/** What is shown of a node, in the order of the contract. */
export function nodeLineOf(record: NodeLine): NodeLine {
  return Object.fromEntries(publicFields.map((field) => [field, record[field]])) as NodeLine
}
