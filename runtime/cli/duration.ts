/** Durations as people write and read them. */
import { UsageError } from '../../actors/errors.ts'

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/**
 * `500ms`, `10s`, `2m`, `1h` as milliseconds.
 * @throws UsageError for anything else
 */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text)
  const unit = match?.[2] as keyof typeof unitMs | undefined
  if (match?.[1] === undefined || unit === undefined) {
    throw new UsageError(`expected a duration like 500ms, 10s, 2m or 1h, got '${text}'`)
  }
  return Math.round(Number(match[1]) * unitMs[unit])
}

/** A length of time for people: `480 ms`, `1.2 s`, `3 m 05 s`, `2 h 10 m`. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} m ${String(seconds % 60).padStart(2, '0')} s`
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} m`
}
