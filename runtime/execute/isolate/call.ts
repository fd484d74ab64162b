/**
 * What crosses the boundary between a node and a handler in a thread or process of its own. Plain
 * JSON, whichever boundary it is.
 */
import type { Execution, LogLevel } from '../../../actors/ports.ts'
import type { FencingToken } from '../../../actors/ports-fleet.ts'
import type { Published } from '../../../actors/publisher.ts'
import type { Task } from '../../../actors/task.ts'

/** One attempt at one task. */
export interface Call {
  /** The tasks file that defines the kind. */
  file: string
  kind: string
  task: Task
  run: string
  seq: number
  attempt: number
  fence?: FencingToken
  timeoutMs: number
  outputBytesMax: number
}

export type FenceOperation =
  | { name: 'check' }
  | { name: 'get'; key: string }
  | { name: 'put'; key: string; value: string }

export type FenceAnswer =
  | { value?: string | undefined }
  | { error: { code: string; message: string; isFenced: boolean; isAway: boolean } }

/** Something a handler publishes. */
export interface Publication {
  topic: string
  data: unknown
  id?: string
}

export type PublishAnswer =
  | { published: Published }
  | { error: { code: string; message: string; isAway: boolean } }

export type ToGuest =
  | { type: 'call'; call: Call }
  | { type: 'abort' }
  | { type: 'fenced'; id: number; answer: FenceAnswer }
  | { type: 'published'; id: number; answer: PublishAnswer }
  /** The call has ended; what this guest was lent for is over. */
  | { type: 'release' }
  | { type: 'stop' }

export type FromGuest =
  /** It is loaded and set up; the handler begins. */
  | { type: 'begun' }
  | { type: 'logged'; level: LogLevel; fields: Record<string, unknown>; message: string }
  | { type: 'fence'; id: number; operation: FenceOperation }
  | { type: 'publish'; id: number; publication: Publication }
  | { type: 'ended'; execution: Execution }
  /** It cannot go on, and says why. */
  | { type: 'dying'; how: string }

/** The far side of one call. */
export interface Guest {
  send(message: ToGuest): void
  /** The call has ended; the guest may take another one. */
  release(): void
  /** Whatever it does. */
  kill(): void
}

export interface Listener {
  hear(message: FromGuest): void
  /** It is gone, without having said how the call ended. */
  died(how: string): void
}

/** Where guests come from. */
export interface Guests {
  /** @throws when the operating system refuses */
  lend(listener: Listener): Guest
  /** Ends those that are idle, in order; the others were killed before. */
  stop(): Promise<void>
  /** What they are called in messages. */
  readonly noun: 'thread' | 'process'
}
