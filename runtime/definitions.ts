/** What users define for a node: in files, and in the program that makes it. */
import { UsageError } from '../actors/errors.ts'
import type { TaskDefinition } from '../actors/kind.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import type { SubscriptionDefinition } from '../actors/subscription-work.ts'
import type { Config } from '../config/schema.ts'
import { refuseSameNames } from './singleton-names.ts'
import { readTasksFile } from './tasks-file.ts'

export interface Definitions {
  tasks: readonly TaskDefinition[]
  singletons: readonly SingletonDefinition[]
  subscriptions: readonly SubscriptionDefinition[]
}

/** @throws UsageError when one cannot be used, or two have one name */
export async function readDefinitions(
  own: { [Of in keyof Definitions]?: Definitions[Of] },
  tasksFiles: readonly string[] = [],
): Promise<Definitions> {
  const files = await Promise.all(tasksFiles.map(readTasksFile))
  const tasks = [...(own.tasks ?? []), ...files.flatMap((read) => read.tasks)]
  const singletons = [...(own.singletons ?? []), ...files.flatMap((read) => read.singletons)]
  const inFiles = files.flatMap((read) => read.subscriptions)
  const subscriptions = [...(own.subscriptions ?? []), ...inFiles]
  refuseSameNames(singletons)
  refuseSameSubscriptions(subscriptions)
  return { tasks, singletons, subscriptions }
}

/**
 * What lives in the memory of this process no other one can work on.
 * @throws UsageError when there are to be other ones
 */
export function refuseSplitting({
  config,
  ephemeral,
  tasks,
}: {
  config: Config
  ephemeral?: boolean
  tasks?: readonly TaskDefinition[]
}): void {
  if (config.worker.processes === 0) return
  const why =
    ephemeral === true
      ? 'an ephemeral node is one process'
      : (tasks?.length ?? 0) > 0
        ? 'functions cannot be handed to another process; put them into a file (tasksFiles)'
        : undefined
  if (why === undefined) return
  throw new UsageError(`worker.processes: expected 0, got ${config.worker.processes}: ${why}`)
}

/** Two handlers of one group would each be handed some of its messages. */
function refuseSameSubscriptions(subscriptions: readonly SubscriptionDefinition[]): void {
  const names = new Set<string>()
  const groups = new Set<string>()
  for (const { name, group, pattern } of subscriptions) {
    if (names.has(name)) {
      throw new UsageError(`subscription "${name}": expected a name of its own, and it is taken`)
    }
    names.add(name)
    if (group === undefined) continue
    const both = `${group} ${pattern}`
    if (groups.has(both)) {
      const taken = `expected a group of its own for ${pattern}, and "${group}" is taken`
      throw new UsageError(`subscription "${name}": ${taken}`)
    }
    groups.add(both)
  }
}
