/**
 * Frames of the Stately inspection protocol, made of actors as they are now. `path`, `machine` and
 * `unseen` in them are ours: inspectors pass over what they do not know.
 */
import type { AnyActorRef, AnyEventObject } from 'xstate'
import { type Visible, visible } from './visible.ts'

/** Of `@statelyai/inspect`; receivers want to see one. */
const protocolVersion = '0.7.2'

/** How much a viewer is told: `page` leaves out what a page of this node has or asks for. */
export type Detail = 'full' | 'page'

/** An actor under observation. */
export interface Watched {
  ref: AnyActorRef
  /** Epoch ms of what made it take on its present snapshot. */
  at: number
  /** Its place in the tree of the node, as `/v1/tree` has it. */
  path: string
  /** What made it take on its present snapshot, as far as that is known. */
  cause: AnyEventObject | undefined
}

/** What may be seen of any snapshot. */
interface Seen {
  status: string
  value?: unknown
  context?: unknown
  children?: Record<string, AnyActorRef | undefined>
  error?: unknown
  _nodes?: readonly { tags: readonly string[] }[]
}

/** `active`, `done`, `error`, `stopped`; undefined before its first snapshot is there. */
export function statusOf(ref: AnyActorRef): string | undefined {
  return (ref.getSnapshot() as Seen | undefined)?.status
}

export function livingChildren(ref: AnyActorRef): AnyActorRef[] {
  const { children = {} } = (ref.getSnapshot() as Seen | undefined) ?? { children: {} }
  return Object.values(children).filter((child) => child !== undefined)
}

/** Its own place below that of its parent: supervised children bear their life in their name. */
export function pathOf(ref: AnyActorRef, parent: AnyActorRef, parentPath: string): string {
  const isSupervised = machineOf(parent)?.id === 'supervisor'
  return `${parentPath}/${isSupervised ? ref.id.replace(/:\d+$/, '') : ref.id}`
}

/** Tells of an actor, and how it is now. */
export function actorFrame(
  { ref, at, path }: Watched,
  detail: Detail,
  withContext: boolean,
): string {
  const machine = machineOf(ref)
  const { _parent: parent } = ref
  return JSON.stringify({
    ...head('@xstate.actor', ref, at),
    name: ref.id,
    ...(parent === undefined ? {} : { parentId: parent.sessionId }),
    ...(detail === 'full' ? { definition: definitionOf(ref) } : {}),
    snapshot: snapshotOf(ref, withContext),
    path,
    ...(machine === undefined ? {} : { machine: machine.id }),
  })
}

export function snapshotFrame({ ref, at, cause }: Watched, withContext: boolean): string {
  return JSON.stringify({
    ...head('@xstate.snapshot', ref, at),
    event: cause === undefined ? { type: 'xstate.unknown' } : eventOf(cause, withContext),
    snapshot: snapshotOf(ref, withContext),
  })
}

/** A message to an actor. */
export interface Sent {
  ref: AnyActorRef
  event: AnyEventObject
  source: AnyActorRef | undefined
  at: number
  /** How many more went to the same actor and are not told, for they were too many. */
  unseen: number
}

export function eventFrame({ ref, event, source, at, unseen }: Sent, detail: Detail): string {
  return JSON.stringify({
    ...head('@xstate.event', ref, at),
    ...(source === undefined ? {} : { sourceId: source.sessionId }),
    event: eventOf(event, detail === 'full'),
    ...(unseen === 0 ? {} : { unseen }),
  })
}

function head(type: string, ref: AnyActorRef, at: number) {
  const { sessionId } = ref
  const rootId = rootOf(ref).sessionId
  return { type, sessionId, rootId, createdAt: String(at), id: null, _version: protocolVersion }
}

function rootOf(ref: AnyActorRef): AnyActorRef {
  const { _parent: parent } = ref
  return parent === undefined ? ref : rootOf(parent)
}

/** Its name, and what it brings where that is wanted. */
function eventOf(event: AnyEventObject, isWhole: boolean): Visible {
  return isWhole ? visible(event) : { type: event.type }
}

function snapshotOf(ref: AnyActorRef, withContext: boolean): Visible {
  const seen = ref.getSnapshot() as Seen | undefined
  if (seen === undefined) return { status: 'active' }
  const { status, value, context, children, error, _nodes: nodes } = seen
  const failure: Record<string, Visible> = error === undefined ? {} : { error: visible(error) }
  if (value === undefined) return { status, ...failure }
  const names = Object.entries(children ?? {}).filter(([, child]) => child !== undefined)
  return {
    status,
    value: value as Visible,
    ...failure,
    ...(withContext
      ? {
          context: visible(context),
          children: Object.fromEntries(names.map(([id]) => [id, { xstate$$type: 1, id }])),
          historyValue: {},
          tags: [...new Set(nodes?.flatMap(({ tags }) => tags) ?? [])],
        }
      : {}),
  }
}

interface Machine {
  id: string
  config: object
}

/** XState's type of a reference does not tell of its logic; the reference does. */
function machineOf(ref: AnyActorRef): Machine | undefined {
  const { logic } = ref as { logic?: Partial<Machine> }
  return logic?.config === undefined || logic.id === undefined ? undefined : (logic as Machine)
}

/** What a machine is made of does not change, and many actors are of one machine. */
const definitions = new WeakMap<object, string>()

function definitionOf(ref: AnyActorRef): string {
  const machine = machineOf(ref)
  if (machine === undefined) return JSON.stringify({ id: ref.id })
  const known = definitions.get(machine.config)
  if (known !== undefined) return known
  const named = { ...machine.config, context: undefined, id: machine.id }
  const definition = JSON.stringify(named, (_key, value: unknown) =>
    typeof value === 'function' ? { type: value.name } : value,
  )
  definitions.set(machine.config, definition)
  return definition
}
