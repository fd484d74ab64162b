/** A length of time for people: `480 ms`, `1.2 s`, `3 m 05 s`, `2 h 10 m`. */
export function elapsed(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} m ${String(seconds % 60).padStart(2, '0')} s`
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} m`
}

/** How long ago a time was. By another clock it may be a little ahead of ours. */
export function ago(at: number, now: number): string {
  return `${elapsed(Math.max(0, now - at))} ago`
}
