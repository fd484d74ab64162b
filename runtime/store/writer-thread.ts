/**
 * Results and audit lines written by a thread of their own. Small work does not pay for it: it is
 * started after so many rows, and until it is there its owner writes.
 */
import { Worker } from 'node:worker_threads'
import { UnavailableError } from '../../actors/errors.ts'
import type { AuditLog, Results } from '../../actors/ports.ts'
import { type ResultBatch, sealed } from '../../actors/results.ts'
import type { FileStoresOptions, Stores } from '../stores.ts'
import { type Opening, remember, type Word, type Work } from './writing.ts'

/** Rows from which on it is worth a thread. */
const rowsBefore = 20_000

export function withWriterThread(
  own: Stores,
  { config, dataDir, log }: FileStoresOptions,
  rowsAlone = rowsBefore,
): Stores {
  let rows = 0
  let thread: WriterThread | undefined
  const started = () => {
    const { redis, log: files } = config
    thread ??= new WriterThread({ open: { config: { redis, log: files }, dataDir } }, log)
    return thread
  }
  const writer = (): WriterThread | undefined => {
    if (rows < rowsAlone) return undefined
    const { isOpen } = started()
    return isOpen ? thread : undefined
  }
  const results: Results = {
    ...own.results,
    put(batches) {
      for (const { outcomes } of batches) rows += outcomes.length
      return writer()?.put(batches) ?? own.results.put(batches)
    },
  }
  const audit: AuditLog = {
    append: (lines) => writer()?.order({ append: lines }) ?? own.audit.append(lines),
    appendResults: (batches) =>
      writer()?.appendResults(batches) ?? own.audit.appendResults(batches),
  }
  return {
    results,
    audit,
    async close() {
      await thread?.close()
      await own.close()
    },
  }
}

/** Numbers that are copied as bytes, and not one by one; and objects as a text, at once. */
function compact(batch: ResultBatch): ResultBatch {
  return {
    ...sealed(batch),
    startedAt: new Float64Array(batch.startedAt),
    durationMs: new Float64Array(batch.durationMs),
    queueMs: new Float64Array(batch.queueMs),
  }
}

class WriterThread {
  /** It can be given orders. Not any more once it has failed. */
  isOpen = false
  readonly #worker: Worker
  readonly #log: FileStoresOptions['log']
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>()
  /** Numbers of the orders to put that it remembers. */
  readonly #put = new Map<readonly ResultBatch[], number>()
  #orders = 0
  #isOver = false

  constructor(opening: Opening, log: FileStoresOptions['log']) {
    this.#log = log
    this.#worker = new Worker(new URL('./writer.ts', import.meta.url))
    this.#worker.on('message', (word: Word) => this.#hear(word))
    this.#worker.on('error', (error: Error) => this.#fail(error.message))
    this.#worker.on('exit', () => this.#fail('it ended'))
    this.#worker.postMessage(opening)
  }

  put(batches: readonly ResultBatch[]): Promise<void> {
    const written = this.order({ put: batches.map(compact) })
    remember(this.#put, batches, this.#orders)
    return written
  }

  appendResults(batches: readonly ResultBatch[]): Promise<void> {
    const order = this.#put.get(batches)
    if (order === undefined) return this.order({ appendResults: batches.map(compact) })
    this.#put.delete(batches)
    return this.order({ appendPut: order })
  }

  /** Resolves when it is written. */
  order(work: Work): Promise<void> {
    this.#orders += 1
    const written = Promise.withResolvers<void>()
    this.#waiting.set(this.#orders, written)
    this.#worker.postMessage({ ...work, id: this.#orders })
    return written.promise
  }

  async close(): Promise<void> {
    const wasOpen = this.isOpen
    this.isOpen = false
    if (wasOpen) await this.order({ close: true })
    this.#isOver = true
    await this.#worker.terminate()
  }

  #hear(word: Word): void {
    if ('opened' in word) this.isOpen = true
    else if ('warned' in word) this.#log.warn(word.warned, word.message)
    else if ('done' in word) this.#take(word.done)?.resolve()
    else this.#take(word.failed)?.reject(errorOf(word))
  }

  #take(id: number): PromiseWithResolvers<void> | undefined {
    const written = this.#waiting.get(id)
    this.#waiting.delete(id)
    return written
  }

  /** From then on its owner writes again. */
  #fail(message: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.isOpen = false
    this.#log.warn({ error: message }, 'the thread that writes results has failed')
    const error = new UnavailableError(`the thread that writes results has failed: ${message}`)
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

function errorOf({ code, message }: { code: string; message: string }): Error {
  return Object.assign(new Error(message), { code })
}
