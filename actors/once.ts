/**
 * Tasks that must not run twice. A dispatcher that was killed before it could note what it had sent
 * sends it again, packed otherwise or under an id that is free again: there may be two envelopes
 * with one task, of which the one that begins it first has it for good.
 */
import type { Work } from './attempt.ts'
import type { Accounting } from './ports-runs.ts'

export interface OnceOptions {
  accounting: Pick<Accounting, 'begin'>
  random(): number
}

const named = 'once'

/** Whether it is for this envelope to begin that attempt; otherwise it is another's to settle. */
export async function mayBeginOnce(
  { accounting, random }: OnceOptions,
  { envelope, delivery, notes }: Work,
  seq: number,
  attempt: number,
): Promise<boolean> {
  let who = notes[named]
  if (who === undefined) {
    // Noted before it is told to anybody: later deliveries of this very envelope go by it.
    who = Math.trunc(random() * 2 ** 52).toString(36)
    await delivery.note({ [named]: who })
    notes[named] = who
  }
  return (await accounting.begin(envelope.run, seq, attempt, who)) === who
}
