/** Durations as people write them: `500ms`, `10s`, `2m`, `1h`. */

const unitMs = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const

/** Milliseconds, or undefined when the text is no duration or no whole number of milliseconds. */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text.trim()) ?? []
  if (amount === undefined || unit === undefined) return undefined
  const ms = Number(amount) * unitMs[unit as keyof typeof unitMs]
  // 1.1 * 60_000 is 66_000.00000000001, and meant as 66 s all the same.
  const whole = Math.round(ms)
  return Math.abs(ms - whole) < 1e-6 && Number.isSafeInteger(whole) ? whole : undefined
}

/** The shortest text that parseDuration reads as exactly `ms`. */
export function formatDuration(ms: number): string {
  for (const [unit, size] of Object.entries(unitMs)) {
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
