/** When a node that says nothing is suspect, and when it is dead. */

/** What a node can say of itself. */
export type SaidState = 'joining' | 'alive' | 'draining'

/** What it is taken for: what it said, until it has been silent for too long. */
export function memberState(
  lastSeen: number,
  now: number,
  staleMs: number,
  said: SaidState,
): SaidState | 'suspect' | 'dead' {
  const silentMs = now - lastSeen
  if (silentMs > staleMs) return 'dead'
  return silentMs > staleMs / 2 ? 'suspect' : said
}
