/** Ids of runs: `r-`, nine digits of time, five of chance, base 36: they sort by time. */

const digits = '0123456789abcdefghijklmnopqrstuvwxyz'

/** @param fits whether an id is one of those wanted; asked until it is */
export function newRunId(now: number, fits: (id: string) => boolean = () => true): string {
  for (;;) {
    const chance = crypto.getRandomValues(new Uint8Array(5))
    const tail = Array.from(chance, (byte) => digits[byte % 36]).join('')
    const id = `r-${now.toString(36).padStart(9, '0')}${tail}`
    if (fits(id)) return id
  }
}
