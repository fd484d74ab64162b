/**
 * What the actors need of the world to keep dead letters: what could not be delivered, or killed
 * its worker, or came in a version that nobody here understands.
 */
import type { TaskLine } from './task.ts'

export const letterReasons = ['poison', 'at-most-once', 'schema', 'undeliverable'] as const

/**
 * `poison`: a task that kept killing its worker. `at-most-once`: one whose worker was lost, and
 * that must not run twice. `schema`: an envelope of another version. `undeliverable`: anything else
 * that nobody can make sense of.
 */
export type LetterReason = (typeof letterReasons)[number]

/** A worker that was lost while it ran the task; what nobody noted is missing. */
export interface Crash {
  /** Epoch ms at which it began to run the task. */
  at?: number
  /** Node id. */
  node?: string
  worker?: string
}

/** A dead letter about to be kept, whole. */
export interface NewLetter {
  /** Made of what is in it: putting it again adds nothing. */
  id: string
  /** Epoch ms. */
  at: number
  mailbox: string
  reason: LetterReason
  run?: string
  /** Of the one task it is about. */
  seq?: number
  kind?: string
  error: { code: string; message: string }
  /** Oldest first. */
  chain: Crash[]
  /** Who gave it up, and the run that it is of. */
  origin: { node: string; run?: string }
  /** The task it is about. */
  task?: TaskLine
  /** A message that was put here as it came, under its id: this is the only copy of it. */
  message?: { id: string; body: unknown }
}

/** A dead letter in a list, without its contents. */
export interface Letter extends Omit<NewLetter, 'task' | 'message'> {
  /** Open until it is redriven; again when its message comes back. */
  state: 'open' | 'redriven'
  /** How often it was redriven, under whatever id: see `Letters.link`. */
  redrives: number
  /** The runs, or the mailbox, it was redriven to. */
  redrivenAs?: string[]
  /** The letter whose redrive ended here. */
  redriveOf?: string
  /** Length of its contents as JSON. */
  bytes: number
}

export type WholeLetter = Letter & Pick<NewLetter, 'task' | 'message'>

/** All that are given must fit. */
export interface LetterFilter {
  run?: string
  kind?: string
  mailbox?: string
  reason?: LetterReason
  state?: Letter['state']
}

export interface LetterQuery extends LetterFilter {
  limit: number
  /** `next` of the page before. */
  after?: string
}

export interface LetterPage {
  items: Letter[]
  /** Where the next page begins, if there may be one. */
  next?: string
}

/** What became of a request to redrive a letter. */
export type Claim =
  | { granted: true; redrives: number; puts: number }
  | { granted: false; why: 'missing' }
  /** It was redriven as often as may be. */
  | { granted: false; why: 'often'; redrives: number }
  /** Its message was sent back before, and has not come here again. */
  | { granted: false; why: 'gone' }

/** The tasks of a run that are redrives. */
export interface Link {
  seq: number
  letter: string
  /** Of that letter, with this redrive. */
  redrives: number
}

/**
 * Dead letters, over all nodes. Bounded: the oldest go first. What is the only copy of a message
 * stays until it was sent back; of those there are no more than mailboxes have room.
 */
export interface Letters {
  /**
   * Resolves when they are durable. For each whether it is new; a message that comes back after a
   * redrive is not, but opens its letter again.
   */
  put(letters: readonly NewLetter[]): Promise<boolean[]>
  /** Newest first. */
  list(query: LetterQuery): Promise<LetterPage>
  get(ids: readonly string[]): Promise<(WholeLetter | undefined)[]>
  /** Counts a redrive, unless there were `max`. Of whoever asks at the same time all may get it. */
  claim(id: string, max: number): Promise<Claim>
  /** Nothing was redriven after all. */
  unclaim(id: string): Promise<void>
  /** @param puts of the claim: a message that came back meanwhile stays open */
  redriven(id: string, as: string, puts: number): Promise<void>
  /** Letters of these tasks go on counting from the letters they are redrives of. */
  link(run: string, links: readonly Link[]): Promise<void>
}
