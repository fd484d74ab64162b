/**
 * Submissions under an idempotency key: the first opens the run, and every other one brings the
 * same lines or is refused. One at a time feeds the run; the others compare, and wait. When the
 * source of the one that feeds breaks off, another goes on with it.
 */
import { ConflictError, describeError, NotFoundError } from './errors.ts'
import { isStopped } from './holds.ts'
import type { Clock, Log } from './ports.ts'
import type { Accounting, OpenRun, RunProgress } from './ports-runs.ts'
import type { Source, SourcePiece } from './source.ts'

/** How long a key stands for its run: 24 hours. */
const keyTtlMs = 86_400_000
/** How often it is asked whether another source has ended: it may break off without a word. */
const lookAgainMs = { first: 10, most: 250 }

export interface KeyedHost {
  accounting: Accounting
  clock: Clock
  log: Log
  /** Names this node and boot. */
  driver: string
  isGone(driver: string): boolean
  /** The submissions that are at work here. */
  atWork: Set<string>
  /** Aborted when no more can be done here, with the reason. */
  ended: AbortSignal
  /** Reads the source to its end for a run that nobody else feeds. */
  take(run: string, feeder: string, source: Source): Promise<void>
}

export interface KeyedSubmission {
  key: string
  source: Source
  /** Whoever submits has left. */
  signal?: AbortSignal
  onOpen?(run: string, resumed: boolean): void
}

/**
 * Resolves when every line is durable, and the run has these lines and no others.
 * @param record what a new run would be; its id names this submission as well
 * @throws ConflictError IDEMPOTENCY_CONFLICT when the run of the key has other lines
 */
export async function submitUnderKey(
  host: KeyedHost,
  record: OpenRun,
  submission: KeyedSubmission,
): Promise<{ progress: RunProgress; resumed: boolean }> {
  const key = { name: submission.key, ttlMs: keyTtlMs }
  // Before it is opened, or another one would take this one for gone.
  host.atWork.add(record.id)
  let body: Body | undefined
  let run = record.id
  try {
    const { progress, resumed } = await host.accounting.open({ ...record, key })
    run = progress.run.id
    const { closed, lines } = progress
    // Lines that need no more than comparing are not looked into.
    body = new Body(submission, closed ? Number.POSITIVE_INFINITY : lines)
    const signals = [host.ended, ...(submission.signal === undefined ? [] : [submission.signal])]
    const onOpen = () => submission.onOpen?.(run, resumed)
    const work = { feeder: record.id, run, body, onOpen, left: AbortSignal.any(signals) }
    const isTaken = !resumed && (await feed(host, work, progress))
    return { progress: isTaken ? await stand(host, run) : await goOn(host, work), resumed }
  } finally {
    host.atWork.delete(record.id)
    if (body !== undefined) await leave(host, run, record.id, body)
  }
}

/** One submission at work. */
interface Work {
  /** Its name among those that feed the run. */
  feeder: string
  run: string
  body: Body
  onOpen(): void
  left: AbortSignal
}

/** Compare and wait, or feed where nobody does, until the run has all its lines. */
async function goOn(host: KeyedHost, work: Work): Promise<RunProgress> {
  const { feeder, run, body, left } = work
  for (let ms = lookAgainMs.first; ; ms = Math.min(ms * 2, lookAgainMs.most)) {
    left.throwIfAborted()
    const progress = await stand(host, run)
    await body.compare(progress, left)
    if (isOver(progress)) return progress
    if (isFed(host, progress)) {
      await host.clock.wait(ms, left)
      continue
    }
    const hasPlace = await host.accounting.feed(run, feeder, host.driver, progress.feeder)
    if (hasPlace && (await feed(host, work, await stand(host, run)))) return stand(host, run)
  }
}

/** @returns false when somebody else took the place */
async function feed(host: KeyedHost, work: Work, progress: RunProgress): Promise<boolean> {
  await work.body.compare(progress, work.left)
  if (isOver(progress)) return true
  work.onOpen()
  try {
    await host.take(work.run, work.feeder, work.body.rest())
    return true
  } catch (error) {
    if (error instanceof ConflictError && error.code === 'RUN_FED_ELSEWHERE') return false
    throw error
  }
}

async function stand({ accounting }: KeyedHost, run: string): Promise<RunProgress> {
  const progress = await accounting.get(run)
  if (progress === undefined) throw new NotFoundError(`run ${run} vanished while it was submitted`)
  return progress
}

const isOver = ({ closed, run }: RunProgress) => closed || run.finishedAt !== undefined

/** Whether the one that feeds it is still there. */
function isFed({ driver, atWork, isGone }: KeyedHost, progress: RunProgress): boolean {
  if (progress.feeder === undefined) return false
  return progress.driver === driver ? atWork.has(progress.feeder) : !isGone(progress.driver)
}

async function leave(
  { accounting, log }: KeyedHost,
  run: string,
  feeder: string,
  body: Body,
): Promise<void> {
  // Not awaited: a source that waits for its next line answers only then.
  body.close().catch((error: unknown) => {
    log.warn({ run, ...describeError(error) }, 'the source of a submission cannot be closed')
  })
  try {
    await accounting.unfeed(run, feeder)
  } catch (error) {
    log.warn({ run, ...describeError(error) }, 'cannot say that a source has ended')
  }
}

/** The lines of one submission, read as far as was needed, and compared with those of the run. */
class Body {
  readonly #key: string
  readonly #pieces: AsyncIterator<SourcePiece>
  readonly #readAfter: number
  #piece: SourcePiece | undefined
  /** Lines there have been. */
  #to = 0
  /** So many are known to be the same. */
  #same = 0

  /** @param readAfter lines up to this one will never be asked for */
  constructor({ key, source }: KeyedSubmission, readAfter: number) {
    this.#key = key
    this.#readAfter = readAfter
    this.#pieces = source(readAfter, true)[Symbol.asyncIterator]()
  }

  /** @throws ConflictError when what the run has had so far, or all of it, is something else */
  async compare(progress: RunProgress, left: AbortSignal): Promise<void> {
    const { run, lines, linesHash, closed } = progress
    const pull = () => orAborted(this.#pull(), left)
    while (this.#to < lines && (await pull()) !== undefined) continue
    if (this.#to < lines) {
      throw this.#conflict(run.id, `it has ${lines} lines and more may come, this one ${this.#to}`)
    }
    if (lines > this.#same && this.#piece?.hashes?.of(lines) !== linesHash) {
      throw this.#conflict(
        run.id,
        lines === 1
          ? 'its first line is not that of this one'
          : `its first ${lines} lines are not those of this one`,
      )
    }
    this.#same = lines
    // Of a run that was stopped the rest was never read.
    if (!closed || isStopped(progress.hold)) return
    while (this.#to === lines && (await pull()) !== undefined) continue
    if (this.#to > lines) throw this.#conflict(run.id, `it has ${lines} lines, this one has more`)
  }

  /** What was not compared. The pieces stay those of this body, which may be compared again. */
  rest(): Source {
    const pull = () => this.#pull()
    const at = () => this.#piece
    const readAfter = this.#readAfter
    return async function* (afterLine) {
      for (let piece = at() ?? (await pull()); piece !== undefined; piece = await pull()) {
        const { from, to } = hashesOf(piece)
        const read = piece.read.slice(Math.max(0, afterLine - Math.max(from, readAfter)))
        yield { ...piece, lines: Math.max(to, afterLine), read }
      }
    }
  }

  async close(): Promise<void> {
    await this.#pieces.return?.()
  }

  async #pull(): Promise<SourcePiece | undefined> {
    const next = await this.#pieces.next()
    if (next.done === true) return undefined
    this.#piece = next.value
    this.#to = hashesOf(next.value).to
    return next.value
  }

  #conflict(run: string, how: string): ConflictError {
    const message =
      `the key "${this.#key}" stands for run ${run}, which was submitted with another body: ` +
      `${how}; submit the same lines, or choose another key`
    return new ConflictError(message, 'IDEMPOTENCY_CONFLICT')
  }
}

async function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function hashesOf({ hashes }: SourcePiece) {
  if (hashes === undefined) throw new Error('expected a source whose lines can be hashed')
  return hashes
}
