/** What the scribes of a fleet (scribe.ts) have noted, and whether it all fits together. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs'

export interface Entry {
  /** Epoch ms, taken before. */
  at: number
  /** Of a write: when its outcome was known. */
  until?: number
  node: string
  epoch: number
  /**
   * `leads`: a term begins; `believes`: the lease is held, by its own clock; `deposed`: no longer;
   * `stops`: asked to, while it still leads. Of a write, whether Redis took it: `written`,
   * `refused` by the fence, or nobody knows.
   */
  says: 'leads' | 'believes' | 'deposed' | 'stops' | 'written' | 'refused' | 'unanswered'
  by?: 'fence' | 'hand'
  /** Of the error. */
  code?: string
}

/** One leadership, as seen from outside. */
export interface Term {
  epoch: number
  node: string
  /** When it began, and when its leader last believed in it: epoch ms. */
  from: number
  until: number
  /** Writes that Redis took. */
  written: Entry[]
  refused: Entry[]
}

/** A file that grows, as it is up to now. */
export class Journal {
  readonly path: string
  readonly #entries: Entry[] = []
  #read = 0
  #rest = ''

  constructor(path: string) {
    this.path = path
  }

  get entries(): readonly Entry[] {
    const lines = (this.#rest + this.#readOn()).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#entries.push(JSON.parse(line) as Entry)
    return this.#entries
  }

  /** By epoch. */
  get terms(): Term[] {
    const byEpoch = Map.groupBy(this.entries, ({ epoch }) => epoch)
    return [...byEpoch.values()]
      .map((entries) => termOf(entries))
      .filter((term) => term !== undefined)
      .sort((a, b) => a.epoch - b.epoch)
  }

  /** The newest term. */
  get last(): Term | undefined {
    return this.terms.at(-1)
  }

  #readOn(): string {
    if (!existsSync(this.path)) return ''
    const file = openSync(this.path, 'r')
    try {
      const parts: string[] = []
      const buffer = Buffer.alloc(64 * 1024)
      for (;;) {
        const bytes = readSync(file, buffer, 0, buffer.length, this.#read)
        if (bytes === 0) return parts.join('')
        this.#read += bytes
        parts.push(buffer.toString('latin1', 0, bytes))
      }
    } finally {
      closeSync(file)
    }
  }
}

/** Two at once who both believe that they lead: none, as long as Redis forgets nothing. */
export function doubleLeaders(terms: readonly Term[]): string[] {
  return terms.flatMap((term, index) =>
    terms
      .slice(index + 1)
      .filter(({ from }) => from < term.until)
      .map(
        ({ node, epoch, from }) =>
          `${node} leads at epoch ${epoch} from ${from}, and ${term.node} at ${term.epoch} still ` +
          `believes in it ${term.until - from} ms later`,
      ),
  )
}

/** Writes that were taken although one of a later term had been taken before they were sent. */
export function staleWritesTaken(terms: readonly Term[]): string[] {
  return terms.flatMap((term, index) => {
    const later = terms.slice(index + 1).flatMap(({ written }) => written)
    const since = Math.min(...later.map(({ until = Number.POSITIVE_INFINITY }) => until))
    return term.written
      .filter(({ at }) => at > since)
      .map(
        ({ by, at }) => `${term.node} wrote by ${by} at epoch ${term.epoch} ${at - since} ms late`,
      )
  })
}

function termOf(entries: readonly Entry[]): Term | undefined {
  const first = entries.find(({ says }) => says === 'leads')
  if (first === undefined) return undefined
  const { node, epoch, at: from } = first
  const of = (says: Entry['says']) => entries.filter((entry) => entry.says === says)
  const until = [...of('believes'), ...of('stops')].at(-1)?.at ?? from
  return { epoch, node, from, until, written: of('written'), refused: of('refused') }
}
