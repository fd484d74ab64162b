/** Ids of runs: `r-`, nine digits of time, five of chance, base 36: they sort by time. */

const digits = '0123456789abcdefghijklmnopqrstuvwxyz'

export function newRunId(now: number): string {
  const chance = crypto.getRandomValues(new Uint8Array(5))
  const tail = Array.from(chance, (byte) => digits[byte % 36]).join('')
  return `r-${now.toString(36).padStart(9, '0')}${tail}`
}
