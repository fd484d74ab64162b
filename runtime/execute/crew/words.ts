/** What is said between the main thread and those that run commands, as JSON: batches of these. */
import type { ExecuteContext, Execution, LogLevel } from '../../../actors/ports.ts'
import type { Task } from '../../../actors/task.ts'
import type { Hierarchy } from '../cgroups.ts'
import type { CommandOptions } from '../command.ts'

export interface Opening {
  options: Pick<CommandOptions, 'outputBytesMax' | 'softKillMs' | 'hardKillMs' | 'spillDir'>
  hierarchies: readonly Hierarchy[]
  /** What the names of its cgroups begin with. */
  prefix: string
}

export type Order =
  | { type: 'open'; opening: Opening }
  | {
      type: 'run'
      id: number
      /** Not before that one has ended. */
      after?: number
      task: Pick<Task, 'input' | 'timeoutMs'>
      context: Pick<ExecuteContext, 'run' | 'seq' | 'kind' | 'attempt'>
    }
  | { type: 'abort'; id: number }
  /** It is not to begin any more. */
  | { type: 'recall'; id: number }
  | { type: 'stop' }

export type Answer =
  | { type: 'opened' }
  | { type: 'ended'; id: number; execution: Execution; durationMs: number }
  /** It was recalled, or what it comes after takes its time: it has not begun, and will not. */
  | { type: 'returned'; id: number }
  | { type: 'logged'; level: LogLevel; fields: Record<string, unknown>; message: string }
  | { type: 'stopped' }

/**
 * Says what was given to it in one turn of the loop at once, and at its end: whoever is woken by it
 * may take the core from the one who speaks, before he has done what others wait for.
 */
export function batching(post: (words: string) => void): (word: Order | Answer) => void {
  let words: (Order | Answer)[] = []
  const flush = () => {
    const said = words
    words = []
    post(JSON.stringify(said))
  }
  return (word) => {
    if (words.push(word) === 1) setImmediate(flush)
  }
}
