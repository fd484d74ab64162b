/** Settings that are words of the configuration, and that nothing here acts on yet. */
import { UsageError } from '../actors/errors.ts'
import { type Config, configSchema } from '../config/schema.ts'

/** Whoever sets one of these relies on it: without it something else would happen. */
const needed = ['store.url'] as const

/** @throws UsageError when there is one that must not be passed over */
export function refuseIdleSettings(config: Config): void {
  const defaults = configSchema.parse({})
  const isSet = (path: string) =>
    JSON.stringify(valueAt(config, path)) !== JSON.stringify(valueAt(defaults, path))
  const missing = needed.filter(isSet)
  if (missing.length > 0) {
    const paths = missing.join(', ')
    throw new UsageError(
      `${paths}: expected none, for this version does not act on it; leave it out`,
    )
  }
}

function valueAt(tree: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], tree)
}
