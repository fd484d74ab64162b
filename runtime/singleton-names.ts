/** The names of singletons are those of their leases. */
import { UsageError } from '../actors/errors.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'

/** Each has a lease of its name; two of one name, here or elsewhere, would be one. */
export function refuseSameNames(singletons: readonly SingletonDefinition[]): void {
  const taken = new Set(['coordinator', 'collector', 'prober'])
  for (const { name } of singletons) {
    if (taken.has(name)) {
      throw new UsageError(`singleton "${name}": expected a name of its own, and it is taken`)
    }
    taken.add(name)
  }
}
