/**
 * A worker process of this node: started, awaited until it takes work, believed to be alive for as
 * long as its own event loop says so, asked to stop. One that ends unasked, or falls silent, is a
 * failure of this actor, and its supervisor decides what follows.
 *
 * What is done about one that is silent is a ladder: it is asked how it is, then to stop, then it
 * is killed, and its supervisor starts another, which is well when it takes work.
 */
import { assign, fromCallback, setup } from 'xstate'
import { type Owned, ownedBy } from './service.ts'

export interface WorkerProcessInput {
  /** Silence after which it is taken for hung, ms. */
  silenceMs: number
  /** Wait for its death after it was killed, ms; then it is given up. */
  reapMs: number
  /** What one that was asked to stop for its silence, and is heard again, gets to end, ms. */
  leaveMs: number
}

export interface WorkerProcessContext extends WorkerProcessInput {
  pid?: number
  /** What it last told of itself: its actors. */
  tree?: unknown
  /** When that was, ms of the monotonic clock. */
  heardAt?: number
  /** The names under which it holds messages. */
  holders: readonly string[]
  /** Tasks at hand. */
  load: number
  error?: unknown
}

export type WorkerProcessEvent =
  | { type: 'stop' }
  | { type: 'process.started'; pid: number }
  | { type: 'process.ready' }
  | { type: 'process.beat'; tree: unknown; holders: readonly string[]; load: number; at: number }
  /** It is about to take messages under this name. */
  | { type: 'process.holds'; holder: string }
  /** It says why it gives up, or could not be started, or how it ended. */
  | { type: 'process.failed'; error: unknown }
  | { type: 'process.exited'; error: unknown }

/** What was done about it. */
export interface Silence {
  was: 'asked to stop' | 'killed'
}

/** Runs as long as the actor lives, and leaves no process behind. */
const unbound = fromCallback<WorkerProcessEvent, Owned>(() => {
  throw new Error('bind process in actors/worker-process.ts')
})

export const workerProcessMachine = setup({
  types: {
    context: {} as WorkerProcessContext,
    input: {} as WorkerProcessInput,
    events: {} as WorkerProcessEvent,
  },
  actors: { process: unbound },
  actions: {
    recordStart: assign(({ event }) =>
      event.type === 'process.started' ? { pid: event.pid } : {},
    ),
    recordBeat: assign(({ event }) =>
      event.type === 'process.beat'
        ? { tree: event.tree, holders: event.holders, load: event.load, heardAt: event.at }
        : {},
    ),
    recordHolder: assign(({ context, event }) =>
      event.type === 'process.holds'
        ? { holders: [...new Set([...context.holders, event.holder])] }
        : {},
    ),
    /** The first reason is the one to tell. */
    recordError: assign(({ context, event }) =>
      'error' in event && context.error === undefined ? { error: event.error } : {},
    ),
    askToStop: () => {
      throw new Error('bind askToStop in actors/worker-process.ts')
    },
    kill: () => {
      throw new Error('bind kill in actors/worker-process.ts')
    },
    /** Asks it to tell how it is now, and not when its time has come. */
    askHowItIs: () => {
      throw new Error('bind askHowItIs in actors/worker-process.ts')
    },
    /** The error of one that said nothing for too long. */
    recordSilence: (_, _silence: Silence) => {
      throw new Error('bind recordSilence in actors/worker-process.ts')
    },
    fail: ({ context }) => {
      throw context.error
    },
  },
  delays: {
    halfSilenceAfter: ({ context }) => context.silenceMs / 2,
    quarterSilenceAfter: ({ context }) => context.silenceMs / 4,
    leaveAfter: ({ context }) => context.leaveMs,
    reapAfter: ({ context }) => context.reapMs,
  },
}).createMachine({
  id: 'workerProcess',
  context: ({ input }) => ({ ...input, holders: [], load: 0 }),
  invoke: { src: 'process', input: ownedBy },
  initial: 'starting',
  on: {
    'process.started': { actions: 'recordStart' },
    'process.beat': { actions: 'recordBeat' },
    'process.holds': { actions: 'recordHolder' },
    'process.failed': { actions: 'recordError' },
    'process.exited': { target: '.failed', actions: 'recordError' },
  },
  states: {
    starting: {
      on: { 'process.ready': 'running', stop: 'stopping' },
    },
    running: {
      tags: ['ready'],
      on: { stop: 'stopping', 'process.beat': { target: '.heard', actions: 'recordBeat' } },
      initial: 'heard',
      states: {
        heard: { after: { halfSilenceAfter: 'quiet' } },
        /**
         * Who stood still himself has not read yet what was told meanwhile: between the two halves
         * he does.
         */
        quiet: {
          entry: 'askHowItIs',
          after: { quarterSilenceAfter: '#workerProcess.asked' },
        },
      },
    },
    /** If it hears anything at all, it hands back itself what it holds. */
    asked: {
      entry: [{ type: 'recordSilence', params: { was: 'asked to stop' } }, 'askToStop'],
      after: { quarterSilenceAfter: 'hung' },
      on: { stop: 'stopping', 'process.beat': { target: 'leaving', actions: 'recordBeat' } },
    },
    /** It was only slow, and ends in order. */
    leaving: {
      after: { leaveAfter: 'hung' },
      on: { stop: 'stopping' },
    },
    /** Its event loop stands still: whatever it holds is lost to it anyhow. */
    hung: {
      entry: [{ type: 'recordSilence', params: { was: 'killed' } }, 'kill'],
      on: { stop: {} },
      after: { reapAfter: 'failed' },
    },
    stopping: {
      entry: 'askToStop',
      on: { 'process.exited': 'stopped' },
    },
    stopped: { type: 'final' },
    failed: { entry: 'fail' },
  },
})
