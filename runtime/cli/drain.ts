/** `muster drain`: a node finishes what it runs, hands back the rest and goes. */
import { UnavailableError } from '../../actors/errors.ts'
import type { Muster } from '../client-api.ts'
import { isAlive, liveNodeFiles } from '../node-file.ts'
import { Departure } from './departure.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { answers, locate, namedUrl } from './locate.ts'
import { dataDirOf } from './settings.ts'

export interface DrainFlags {
  reason?: string
  /** Ms. */
  timeout?: number
  wait?: boolean
}

export async function drain(
  invocation: Invocation,
  id: string,
  flags: DrainFlags,
): Promise<number> {
  const { muster } = await locate(invocation)
  return sendAway(invocation, muster, id, flags)
}

/** A node is down 25 s after it was told to go. */
const patienceMs = 60_000
const lookMs = 200

/** Somebody who is to go. */
interface Leaver {
  id: string
  boot: string
  /** Where it works on this data directory: of its process. */
  pid: number | undefined
  /** It is the one that is asked about itself. */
  isAsked: boolean
}

/** Has it drain, and waits until it is gone. */
export async function sendAway(
  { globals, terminal }: Invocation,
  muster: Muster,
  id: string,
  { reason = 'by the command line', timeout = patienceMs, wait = true }: DrainFlags,
): Promise<number> {
  const departure = new Departure(timeout)
  const { signal } = departure
  let isAsked = false
  try {
    const files = namedUrl(globals) === undefined ? liveNodeFiles(dataDirOf(globals)) : []
    const pid = files.find((file) => file.id === id)?.pid
    const root = await muster.tree()
    const { boot, noop } = await muster.drain(id, { reason, signal })
    isAsked = true
    const how = noop === true ? 'is draining already' : 'drains'
    if (!wait) {
      terminal.say(`node ${id} ${how}; see: muster nodes`)
      return exitCodes.ok
    }
    terminal.say(`node ${id} ${how}; what it runs gets 12 s to finish`)
    const end = await endOf(muster, { id, boot, pid, isAsked: root.id === id }, signal)
    if (end === 'gone') {
      terminal.say(`node ${id} is gone`)
      return exitCodes.ok
    }
    terminal.warn(`muster: node ${id} died while it drained; what it had is run again by others`)
    return exitCodes.notOk
  } catch (error) {
    const how = Departure.of(error)
    if (how === undefined) throw error
    const what = isAsked ? 'it goes on draining: muster nodes' : 'it did not hear of it'
    terminal.warn(`muster: stopped waiting for node ${id}; ${what}`)
    return exitCodes[how]
  } finally {
    departure.dispose()
  }
}

async function endOf(
  muster: Muster,
  leaver: Leaver,
  signal: AbortSignal,
): Promise<'gone' | 'dead'> {
  for (;;) {
    const end = await lookAfter(muster, leaver, signal)
    signal.throwIfAborted()
    if (end !== undefined) return end
    await Bun.sleep(lookMs)
    signal.throwIfAborted()
  }
}

/** Undefined while it is there. */
async function lookAfter(
  muster: Muster,
  { id, boot, pid, isAsked }: Leaver,
  signal: AbortSignal,
): Promise<'gone' | 'dead' | undefined> {
  if (pid !== undefined) return isAlive(pid) ? undefined : 'gone'
  try {
    const nodes = await muster.nodes({ signal })
    const found = nodes.find((node) => node.id === id && node.boot === boot)
    if (found === undefined) return 'gone'
    return found.state === 'dead' ? 'dead' : undefined
  } catch (error) {
    if (!isAsked || !(error instanceof UnavailableError)) throw error
    // It takes no more questions; or it is there, and Redis is not.
    return (await answers(muster.url)) ? undefined : 'gone'
  }
}
