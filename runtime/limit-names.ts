/** Whether the names under `[limits]` mean something. */

import { UsageError } from '../actors/errors.ts'
import { sourcePrefix } from '../config/key.ts'
import { nearest } from '../config/nearest.ts'
import type { Config } from '../config/schema.ts'

/**
 * What is wrong with the limits that are no source's and name no kind, in one sentence. A node that
 * lives for a single command need not know all the kinds that others do.
 * @throws UsageError with it, where the node `serves`: whoever relies on it is limited by nothing
 */
export function unknownLimits(
  limits: Config['limits'],
  kinds: ReadonlyMap<string, unknown>,
  serves = false,
): string | undefined {
  const names = Object.keys(limits).filter(
    (name) => !name.startsWith(sourcePrefix) && !kinds.has(name),
  )
  if (names.length === 0) return undefined
  const known = [...kinds.keys()]
  const found = names.map((name) => {
    const meant = nearest(name, known)
    return meant === undefined ? `"${name}"` : `"${name}" (did you mean "${meant}"?)`
  })
  const ways = `the name of a kind, or "${sourcePrefix}" and the label source of tasks`
  const got = `got ${found.join(', ')}; known kinds are ${known.join(', ')}`
  const trouble = `limits: expected ${ways}, ${got}`
  if (serves) throw new UsageError(trouble)
  return trouble
}
