/**
 * One operating-system process and the group it leads, from start to the last byte of its output.
 * Decides when the group is told to end (SIGTERM), when it is made to (SIGKILL) and how long
 * anything is waited for. What it wants done it emits; the world answers with events.
 */
import { assertEvent, assign, emit, setup } from 'xstate'

export type KillSignal = 'SIGTERM' | 'SIGKILL'

/** How the leader ended: with a code, or by a signal. */
export interface ProcessExit {
  exitCode: number | null
  signal: string | null
}

/** Why it never ran: the code the operating system gave, and a sentence. */
export interface StartFailure {
  code: string
  message: string
}

/** Why it was ended from here. */
export type EndCause = 'timeLimit' | 'stalled' | 'aborted'

export interface SubprocessTimes {
  /** SIGTERM to the group, ms from the start. */
  softKillMs: number
  /** SIGKILL to the group, ms from the start. */
  hardKillMs: number
  /** SIGTERM when no output came for so long, ms; SIGKILL follows after as much, at most 5 s. */
  stallMs?: number
  /** Wait for the end of the output after the end of the group, ms. */
  drainMs: number
  /** Wait for the death of the leader after SIGKILL, ms; then it is given up. */
  reapMs: number
}

export interface SubprocessEnd {
  /** Undefined when it ended by itself. */
  cause: EndCause | undefined
  /** Undefined when it never started, or did not even die of SIGKILL. */
  exit: ProcessExit | undefined
  /** Undefined when it started. */
  failure: StartFailure | undefined
}

type SubprocessEvent =
  | { type: 'process.started' }
  | ({ type: 'process.failed' } & StartFailure)
  | ({ type: 'process.exited'; isOutputEnded: boolean } & ProcessExit)
  | { type: 'output.seen' }
  | { type: 'output.ended' }
  | { type: 'abort' }

type SubprocessEmitted = { type: 'group.kill'; signal: KillSignal } | { type: 'pipes.release' }

type SubprocessContext = SubprocessEnd & { times: SubprocessTimes }

const stallGraceMsMax = 5000

function killGraceMs({ times, cause }: SubprocessContext): number {
  const grace = times.hardKillMs - times.softKillMs
  if (cause !== 'stalled' || times.stallMs === undefined) return grace
  return Math.min(times.stallMs, stallGraceMsMax, grace)
}

export const subprocessMachine = setup({
  types: {
    context: {} as SubprocessContext,
    events: {} as SubprocessEvent,
    emitted: {} as SubprocessEmitted,
    input: {} as SubprocessTimes,
    output: {} as SubprocessEnd,
    tags: {} as 'starting' | 'alive' | 'ending' | 'terminal',
  },
  delays: {
    softKillAfter: ({ context }) => context.times.softKillMs,
    hardKillAfter: ({ context }) => killGraceMs(context),
    stallAfter: ({ context }) => context.times.stallMs ?? context.times.softKillMs,
    reapAfter: ({ context }) => context.times.reapMs,
    halfDrainAfter: ({ context }) => context.times.drainMs / 2,
  },
  guards: {
    isWatched: ({ context }) => context.times.stallMs !== undefined,
    isOutputEnded: ({ event }) => event.type === 'process.exited' && event.isOutputEnded,
  },
  actions: {
    recordTimeLimit: assign({ cause: 'timeLimit' }),
    recordStall: assign({ cause: 'stalled' }),
    // A command that ran out of time stays a timeout, also when it is then cancelled.
    recordAbort: assign({ cause: ({ context }) => context.cause ?? 'aborted' }),
    recordExit: assign(({ event }) => {
      assertEvent(event, 'process.exited')
      return { exit: { exitCode: event.exitCode, signal: event.signal } }
    }),
    recordFailure: assign(({ event }) => {
      assertEvent(event, 'process.failed')
      return { failure: { code: event.code, message: event.message } }
    }),
    endGroup: emit({ type: 'group.kill', signal: 'SIGTERM' }),
    killGroup: emit({ type: 'group.kill', signal: 'SIGKILL' }),
    releasePipes: emit({ type: 'pipes.release' }),
  },
}).createMachine({
  id: 'subprocess',
  context: ({ input }) => ({
    times: input,
    cause: undefined,
    exit: undefined,
    failure: undefined,
  }),
  output: ({ context: { cause, exit, failure } }) => ({ cause, exit, failure }),
  initial: 'starting',
  on: {
    // Whatever the leader leaves behind in its group ends with it.
    'process.exited': [
      { guard: 'isOutputEnded', target: '.exited', actions: ['recordExit', 'killGroup'] },
      { target: '.draining', actions: ['recordExit', 'killGroup'] },
    ],
    abort: { target: '.hardKilled', actions: 'recordAbort' },
  },
  states: {
    starting: {
      tags: 'starting',
      on: {
        'process.started': [{ guard: 'isWatched', target: 'watched' }, { target: 'running' }],
        'process.failed': { target: 'failedToStart', actions: 'recordFailure' },
        abort: { target: 'abortedStart', actions: 'recordAbort' },
      },
    },
    // Cancelled while the start was under way: what comes of it must not stay behind.
    abortedStart: {
      tags: 'starting',
      on: {
        'process.started': 'hardKilled',
        'process.failed': { target: 'failedToStart', actions: 'recordFailure' },
        abort: {},
      },
    },
    running: {
      tags: 'alive',
      after: { softKillAfter: { target: 'softKilled', actions: 'recordTimeLimit' } },
    },
    // Running, and expected to say something now and then.
    watched: {
      tags: 'alive',
      after: { softKillAfter: { target: 'softKilled', actions: 'recordTimeLimit' } },
      initial: 'quiet',
      states: {
        quiet: {
          after: { stallAfter: { target: '#subprocess.softKilled', actions: 'recordStall' } },
          on: { 'output.seen': { target: 'quiet', reenter: true } },
        },
      },
    },
    softKilled: {
      tags: ['alive', 'ending'],
      entry: 'endGroup',
      after: { hardKillAfter: 'hardKilled' },
    },
    hardKilled: {
      tags: ['alive', 'ending'],
      entry: 'killGroup',
      // Stuck in the kernel (a dead network disk): not to be waited for.
      after: { reapAfter: { target: 'exited', actions: 'releasePipes' } },
      on: { abort: { actions: 'recordAbort' } },
    },
    // A process that left the group may hold the pipes for ever. The wait has two halves because
    // after a blocked event loop a timer fires before the output that is there has been read.
    draining: {
      tags: 'ending',
      after: { halfDrainAfter: 'overdue' },
      on: { 'process.exited': {}, 'output.ended': 'exited', abort: {} },
    },
    overdue: {
      tags: 'ending',
      after: { halfDrainAfter: { target: 'exited', actions: 'releasePipes' } },
      on: { 'process.exited': {}, 'output.ended': 'exited', abort: {} },
    },
    exited: { tags: 'terminal', type: 'final' },
    failedToStart: { tags: 'terminal', type: 'final' },
  },
})
