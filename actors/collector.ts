/**
 * Binds a collector to its mailbox: every outcome is counted once, stored once and written to the
 * audit log before its envelope is acknowledged. The outcome map decides: of two results for one
 * task the first to be settled counts, and only a row that agrees with the map is stored.
 */
import { type AnyActorRef, fromPromise } from 'xstate'
import { collectorMachine } from '../machines/collector.ts'
import { outcomeOf } from '../machines/outcome.ts'
import type { Owned } from '../machines/service.ts'
import { eachSeq, envelopeVersion, type ResultsEnvelope, resultsMailbox } from './envelope.ts'
import { MusterError } from './errors.ts'
import type {
  Accounting,
  AuditLog,
  Delivery,
  Log,
  Mailboxes,
  Receiver,
  ResultRow,
  Results,
  Settled,
  Settlement,
} from './ports.ts'
import type { ResultLine } from './result.ts'
import type { ChildSpec } from './supervisor.ts'

export interface CollectorOptions {
  batchMax: number
  /** How long it may take to work off what is at hand. */
  graceMs(): number
  mailboxes: Mailboxes
  accounting: Accounting
  results: Results
  audit: AuditLog
  log: Log
}

interface Waiting {
  id: string
  envelope: ResultsEnvelope
  end: PromiseWithResolvers<void>
}

export function collector(options: CollectorOptions): ChildSpec {
  const waiting: Waiting[] = []
  let opening: Promise<Receiver> | undefined

  const handle = (self: AnyActorRef) => (delivery: Delivery) => {
    const envelope = delivery.body as ResultsEnvelope
    if (envelope.v !== envelopeVersion) {
      const got = `${String(envelope.v)}: a newer node sent them`
      const message = `expected results of version ${String(envelopeVersion)}, got ${got}`
      return Promise.reject(new MusterError('ENVELOPE_VERSION', message))
    }
    const end = Promise.withResolvers<void>()
    waiting.push({ id: delivery.id, envelope, end })
    self.send({ type: 'results.received' })
    return end.promise
  }

  return {
    logic: collectorMachine.provide({
      actors: {
        open: fromPromise<void, Owned>(async ({ input, signal }) => {
          opening = options.mailboxes.receive(
            resultsMailbox,
            { concurrency: options.batchMax, ordered: false },
            handle(input.owner),
          )
          const receiver = await opening
          // Given up meanwhile: nobody else may be left to close it.
          if (signal.aborted) await receiver.stop(options.graceMs())
        }),
        close: fromPromise<void, Owned>(async () => (await opening)?.stop(options.graceMs())),
      },
      actions: {
        collectBatch: ({ self }) => {
          // Everything that arrived in this turn of the event loop makes one batch.
          queueMicrotask(() => {
            const batch = waiting.splice(0, options.batchMax)
            void collect(options, batch).then(() =>
              self.send({ type: 'batch.collected', envelopes: batch.length }),
            )
          })
        },
      },
    }),
  }
}

/** Never rejects: each envelope of the batch hears of its own end. */
async function collect(options: CollectorOptions, batch: readonly Waiting[]): Promise<void> {
  try {
    const settlements = batch.map(({ id, envelope }) => settlementOf(id, envelope))
    const settled = await options.accounting.settle(settlements)
    const rows = batch.flatMap(({ envelope }, index) =>
      rowsOf(envelope, settlements[index], settled[index]),
    )
    if (rows.length > 0) {
      await options.results.put(rows)
      await options.audit.append(rows.map((row) => `${row.line}\n`).join(''))
    }
    await options.accounting.stored(settlements)
    for (const { end } of batch) end.resolve()
  } catch (error) {
    for (const { end } of batch) end.reject(error)
  }
}

function settlementOf(id: string, envelope: ResultsEnvelope): Settlement {
  return {
    run: envelope.run,
    id,
    mailbox: envelope.mailbox,
    seqs: envelope.seqs,
    outcomes: Array.from(envelope.outcomes, (digit) => outcomeOf(Number(digit)) ?? 'failed'),
  }
}

/** The rows of the tasks whose outcome in the map is the one of this envelope. */
function rowsOf(
  envelope: ResultsEnvelope,
  settlement: Settlement | undefined,
  settled: Settled | undefined,
): ResultRow[] {
  const rows: ResultRow[] = []
  let index = 0
  for (const seq of eachSeq(envelope.seqs)) {
    const outcome = settlement?.outcomes[index] ?? 'failed'
    const result = envelope.results[index]
    const counted = settled?.outcomes === undefined ? outcome : settled.outcomes[index]
    if (result !== undefined && counted === outcome) {
      const line: ResultLine = {
        run: envelope.run,
        seq,
        ...(result.id === undefined ? {} : { id: result.id }),
        kind: envelope.kind,
        ...(result.target === undefined ? {} : { target: result.target }),
        outcome,
        attempt: result.attempt ?? envelope.attempt,
        node: envelope.node,
        worker: envelope.worker,
        startedAt: result.startedAt,
        durationMs: result.durationMs,
        queueMs: result.queueMs,
        ...(result.output === undefined ? {} : { output: result.output }),
        ...(result.error === undefined ? {} : { error: result.error }),
      }
      rows.push({
        run: envelope.run,
        seq,
        outcome,
        line: JSON.stringify(line),
        ...(result.attempts === undefined ? {} : { attempts: JSON.stringify(result.attempts) }),
      })
    }
    index += 1
  }
  return rows
}
