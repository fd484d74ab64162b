/** The headroom port in memory: a process has what it has. */
import type { Headroom } from '../../actors/ports-limits.ts'

export function memoryHeadroom(): Headroom {
  return {
    shortage: () => undefined,
    isScarce: () => false,
    look: () => undefined,
    watch: () => () => undefined,
  }
}
