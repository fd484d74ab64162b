/**
 * Commands run by several threads: to start a process holds up the thread that does it, longer than
 * everything else about a command takes. A few commands do not pay for threads: they are started
 * when many come within a second, are ended when nothing came for a while, and meanwhile, as well
 * as where no cgroup tells whose the processes of a dead thread were, all is run by the caller.
 */
import { tmpdir } from 'node:os'
import { describeError } from '../../../actors/errors.ts'
import type { ExecuteContext, Executor } from '../../../actors/ports.ts'
import { Cgroups } from '../cgroups.ts'
import { type CommandOptions, commandExecutor } from '../command.ts'
import { openSurroundings, type Surroundings } from '../surroundings.ts'
import { Member } from './member.ts'

export interface CrewOptions extends CommandOptions {
  /** Threads at most. */
  threads: number
  /** So many commands within a second are worth threads. */
  commandsBefore?: number
  /** Threads are ended after so long without a command. */
  idleMs?: number
}

/**
 * Threads are slow for their first thousands of commands, until their code is compiled: those of
 * the last audit are there for the next. Two hold 34 MiB.
 */
const idleMsDefault = 300_000
/** A thread that died is replaced after this. */
const againMs = 1000

/** Names of cgroups are given once in the life of a process. */
let members = 0

/** Like the executor of commands that it stands before. */
export function commandCrew(options: CrewOptions): Executor {
  const { commandsBefore = 100, idleMs = idleMsDefault, threads, log, ...given } = options
  const crew = new Set<Member>()
  let around: Surroundings | undefined
  let looking: ReturnType<typeof setInterval> | undefined
  let second = { since: 0, commands: 0 }
  let lastAt = 0
  let engageAt = 0

  const own = commandExecutor({
    ...given,
    log,
    async open() {
      const opened = await openSurroundings(options.cgroups, options.spillDir ?? tmpdir(), log)
      around = opened
      return {
        ...opened,
        async close() {
          await dismiss()
          await opened.close()
        },
      }
    },
  })

  const dismiss = () => Promise.all([...crew].map((member) => member.stop()))

  /** Whoever still runs something is looked at again. */
  const look = () => {
    if (performance.now() - lastAt < idleMs) return
    for (const member of crew) if (member.load === 0) void member.stop()
  }

  /** Nobody is left of what it ran. */
  const clear = ({ prefix }: Member, hierarchies: Cgroups['hierarchies']) => {
    try {
      new Cgroups(hierarchies, prefix).close()
    } catch (error) {
      log.warn(describeError(error), 'the cgroups of a dead thread are stuck')
    }
  }

  const engage = () => {
    const { hierarchies = [] } = around?.cgroups ?? {}
    if (hierarchies.length === 0) return
    const { outputBytesMax, softKillMs, hardKillMs, spillDir } = given
    const limits = { outputBytesMax, softKillMs, hardKillMs, spillDir }
    while (crew.size < threads) {
      members += 1
      const member = new Member({
        opening: { options: limits as typeof given, hierarchies, prefix: `t${members}.` },
        log,
        ended(gone, isLost) {
          crew.delete(gone)
          if (crew.size === 0) {
            clearInterval(looking)
            looking = undefined
          }
          // Whatever it died of may be there still.
          if (isLost) engageAt = performance.now() + againMs
          clear(gone, hierarchies)
        },
      })
      crew.add(member)
    }
    looking ??= setInterval(look, idleMs / 2)
    looking.unref()
  }

  /** The one with the least to do, of those that take commands. */
  const leastLoaded = (): Member | undefined => {
    let found: Member | undefined
    for (const member of crew) {
      if (member.isOpen && (found === undefined || member.load < found.load)) found = member
    }
    return found
  }

  const count = () => {
    lastAt = performance.now()
    if (lastAt - second.since >= 1000) second = { since: lastAt, commands: 0 }
    second.commands += 1
    const isMuch = second.commands >= commandsBefore && crew.size < threads
    if (isMuch && lastAt >= engageAt) engage()
  }

  return {
    start: () => own.start(),
    async stop() {
      around = undefined
      await Promise.all([dismiss(), own.stop()])
    },
    run(task, context: ExecuteContext) {
      if (around === undefined || context.signal.aborted) return own.run(task, context)
      count()
      const member = leastLoaded()
      if (member === undefined) return own.run(task, context)
      around.guardian.wake()
      return member.run(task, context)
    },
    follow(task, context, before, recall) {
      if (around === undefined || context.signal.aborted) return undefined
      for (const member of crew) {
        const following = member.follow(task, context, before, recall)
        if (following === undefined) continue
        count()
        around.guardian.wake()
        return following
      }
      return undefined
    },
  }
}
