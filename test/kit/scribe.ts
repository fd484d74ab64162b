/**
 * A singleton for drills, loaded by nodes as a task file: it writes all the time, and notes in a
 * journal what it believes and what became of each write. It writes in two ways: through its fence,
 * as it should, and as nobody should, past everything that it is told, on a connection of its own
 * with nothing but its epoch, until Redis refuses that.
 */
import { appendFileSync } from 'node:fs'
import { describeError, FencedError } from '../../actors/errors.ts'
import { fenceOfEnvelope } from '../../actors/fence.ts'
import type { Fence } from '../../actors/ports-fleet.ts'
import { defineSingleton } from '../../actors/singleton.ts'
import { redisLeases } from '../../runtime/redis/leases.ts'
import type { Entry } from './journal.ts'

/** Between two looks, or two writes. */
const pauseMs = 20
const journal = variable('SCRIBE_JOURNAL')
const node = variable('MUSTER_NODE_ID')
const log = { debug() {}, info() {}, warn() {}, error() {} }

export const scribe = defineSingleton({
  name: 'scribe',
  start({ epoch, signal, fence }) {
    let isStopped = false
    const isOver = () => isStopped
    note({ at: Date.now(), epoch, says: 'leads' })
    believe(fence, isOver)
    const url = variable('SCRIBE_REDIS_URL')
    const leases = redisLeases({ url, operationTimeoutMs: 500, log })
    const writers = [
      write(fence, 'fence', isOver),
      write(fenceOfEnvelope({ lease: 'scribe', epoch }, leases), 'hand', isOver),
    ]
    void Promise.all(writers).then(() => leases.close())
    return {
      // Whoever has lost its lease is not to stop, but to be refused.
      stop() {
        if (signal.aborted) return
        isStopped = true
        note({ at: Date.now(), epoch, says: 'stops' })
      },
    }
  },
})

/** Says that it leads for as long as its fence says so. */
function believe(fence: Fence, isOver: () => boolean): void {
  const look = () => {
    if (isOver()) return
    // Taken before: it was right then, however long this process stands still afterwards.
    const at = Date.now()
    try {
      fence.assert()
    } catch (error) {
      note({ at, epoch: fence.epoch, says: 'deposed', code: describeError(error).code })
      return
    }
    note({ at, epoch: fence.epoch, says: 'believes' })
    setTimeout(look, pauseMs)
  }
  look()
}

/** Writes until that is refused. The key tells who wrote. */
async function write(fence: Fence, by: 'fence' | 'hand', isOver: () => boolean): Promise<void> {
  const { epoch } = fence
  for (let count = 1; !isOver(); count += 1) {
    const at = Date.now()
    const outcome = await outcomeOf(() => fence.put(`${by}-${epoch}`, String(count)))
    note({ at, until: Date.now(), epoch, by, ...outcome })
    if (outcome.says === 'refused') return
    await Bun.sleep(pauseMs)
  }
}

async function outcomeOf(operation: () => Promise<void>): Promise<Pick<Entry, 'says' | 'code'>> {
  try {
    await operation()
    return { says: 'written' }
  } catch (error) {
    const { code } = describeError(error)
    return { says: error instanceof FencedError ? 'refused' : 'unanswered', code }
  }
}

function note(entry: Omit<Entry, 'node'>): void {
  appendFileSync(journal, `${JSON.stringify({ ...entry, node })}\n`)
}

/** Only the nodes that run this have them; whoever imports the name of it does not. */
function variable(name: string): string {
  return process.env[name] ?? ''
}
