/** What the launcher (`cli/muster`) tells Bun about its heap, by the environment. */

const names = [
  'BUN_JSC_heapGrowthMaxIncrease',
  'BUN_JSC_minEdenToOldGenerationRatio',
  'BUN_GC_TIMER_INTERVAL',
]

/**
 * They were read when this process began. Programs that tasks start are not to inherit them: a Bun
 * of another version ends at once when it does not know one. Worker processes get them all the
 * same, for `Bun.spawn` passes on what there was at the start.
 */
export function forgetHeapSettings(env: Record<string, string | undefined> = process.env): void {
  for (const name of names) delete env[name]
}
