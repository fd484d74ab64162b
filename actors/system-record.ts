/** What is told and kept of the state of the system. */
import type { SnapshotFrom } from 'xstate'
import type { SystemMove, systemMachine } from '../machines/system.ts'
import {
  type Diagnosis,
  isSystemState,
  type SystemState,
  shares,
} from '../machines/system-rules.ts'
import { describeError, UnavailableError } from './errors.ts'
import type { Log } from './ports.ts'
import type { SystemEntry, SystemLog, SystemOrder, SystemSnapshot } from './ports-system.ts'

/** What somebody wants. */
export interface Asked {
  to: SystemState
  reason: string
  /** Who that is. */
  actor: string
}

/** The state as it is shown: contract section 4, `state`. */
export interface SystemView {
  state: SystemState
  /** Epoch ms. */
  since: number
  reason: string
  actor: string
  /** Shares of the full rate, and of the full concurrency. */
  effect: { admission: number; concurrency: number }
  /** For people, where it is not OPERATIONAL. */
  note?: string
  /** What the last reflection came to. */
  diagnosis?: Diagnosis
}

export function viewOf(
  snapshot: SnapshotFrom<typeof systemMachine> | undefined,
  now: number,
  feels: string | undefined,
): SystemView {
  const value = snapshot?.value
  // Of one that is not there yet, or not any more, nothing is to be expected.
  if (snapshot === undefined || value === undefined || !isSystemState(value)) {
    const reason = 'the node is starting or stopping'
    const none = { admission: 0, concurrency: 0 }
    return { state: 'PAUSED', since: now, reason, actor: 'system', effect: none }
  }
  const { since, reason, actor, diagnosis } = snapshot.context
  const share = shares[value]
  return {
    state: value,
    since,
    reason,
    actor,
    effect: { admission: share, concurrency: share },
    ...(value === 'OPERATIONAL' ? {} : { note: noteOf(value, since, reason, feels) }),
    ...(diagnosis === undefined ? {} : { diagnosis }),
  }
}

function noteOf(
  state: SystemState,
  since: number,
  reason: string,
  feels: string | undefined,
): string {
  const at = `${new Date(since).toISOString().slice(11, 16)} UTC`
  const how = state === 'PAUSED' ? 'stopped' : 'slow'
  const now = feels === undefined || state === 'PAUSED' ? '' : `; ${feels}`
  return `${how} because ${state} since ${at}: ${reason}${now}`
}

interface OutboxOptions {
  node: string
  systemLog(): SystemLog
  audit(line: string): Promise<void>
  newId(): string
  log: Log
}

interface Waiting {
  entry: SystemEntry
  snapshot: SystemSnapshot
}

/** More than that of an outage nobody reads. */
const waitingMax = 1000

/** Changes on their way to Redis and to the audit log, in the order in which they were made. */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #waiting: Waiting[] = []
  #flushing: Promise<void> | undefined

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** It is noted as soon as that can be done. */
  add(move: SystemMove, snapshot: SystemSnapshot): void {
    const entry = this.#entryOf(move)
    this.#waiting.push({ entry, snapshot })
    if (this.#waiting.length > waitingMax) this.#waiting.shift()
    void this.#audit(entry)
    void this.flush()
  }

  /**
   * Resolves with its id once it is noted, together with what an operator says by it.
   * @throws UnavailableError it is not, as far as is known here
   */
  async note(move: SystemMove, snapshot: SystemSnapshot, order: SystemOrder): Promise<string> {
    await this.flush()
    if (this.#waiting.length > 0) {
      throw new UnavailableError('Redis cannot be told what is to hold for all nodes; try again')
    }
    const entry = this.#entryOf(move)
    await this.#options.systemLog().append(entry, snapshot, order)
    await this.#audit(entry)
    return entry.id
  }

  /** Resolves when all is noted, or that cannot be done now. */
  flush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined
    })
    return this.#flushing
  }

  /** The same, of a node that stops: what Redis does not take now is lost. */
  async flushSoon(): Promise<void> {
    await this.flush()
    const lost = this.#waiting.length
    if (lost > 0) this.#options.log.warn({ lost }, 'changes of state could not be noted in Redis')
  }

  async #flush(): Promise<void> {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      try {
        await this.#options.systemLog().append(next.entry, next.snapshot)
      } catch (error) {
        this.#options.log.debug(describeError(error), 'a change of state cannot be noted yet')
        return
      }
      if (this.#waiting[0] === next) this.#waiting.shift()
    }
  }

  #entryOf({ from, to, reason, actor, now: at, isNoop }: SystemMove): SystemEntry {
    const { node, newId } = this.#options
    const entry = { id: newId(), at, node, from, to, reason, actor }
    return isNoop ? { ...entry, noop: true } : entry
  }

  async #audit(entry: SystemEntry): Promise<void> {
    try {
      await this.#options.audit(`${JSON.stringify({ type: 'system', ...entry })}\n`)
    } catch (error) {
      const fields = { to: entry.to, ...describeError(error) }
      this.#options.log.warn(fields, 'a change of state is missing in the audit log')
    }
  }
}
