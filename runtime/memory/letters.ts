/** The letters port in memory: the twin of runtime/redis/letters.ts. */
import { fits } from '../../actors/letters.ts'
import type { Letter, Letters, NewLetter, WholeLetter } from '../../actors/ports-letters.ts'

export interface MemoryLettersOptions {
  /** Letters kept, besides those that are the only copy of a message. Default 100 000. */
  keep?: number
  /** Bytes they may have together. Default 256 MiB. */
  bytesMax?: number
}

interface Entry {
  place: number
  /** As JSON: nobody who has it changes it here. */
  head: string
  contents: string
  isMessage: boolean
  /** It may go when there are too many. */
  isPassing: boolean
  puts: number
  said: Pick<Letter, 'state' | 'redrives' | 'redrivenAs' | 'redriveOf' | 'bytes'>
}

export function memoryLetters(options: MemoryLettersOptions = {}): Letters {
  const { keep = 100_000, bytesMax = 256 * 1_048_576 } = options
  /** In the order in which they came. */
  const entries = new Map<string, Entry>()
  const links = new Map<string, { letter: string; redrives: number }>()
  let places = 0

  /** Of those that may go. */
  const passing = { count: 0, bytes: 0 }

  const setPassing = (entry: Entry, isPassing: boolean) => {
    if (entry.isPassing === isPassing) return
    entry.isPassing = isPassing
    const sign = isPassing ? 1 : -1
    passing.count += sign
    passing.bytes += sign * entry.said.bytes
  }

  const dropOld = () => {
    for (const [id, entry] of entries) {
      if (passing.count <= 1 || (passing.count <= keep && passing.bytes <= bytesMax)) return
      if (!entry.isPassing) continue
      setPassing(entry, false)
      entries.delete(id)
    }
  }

  const putOne = ({ task, message, ...about }: NewLetter): boolean => {
    const known = entries.get(about.id)
    if (known !== undefined) {
      known.puts += 1
      if (known.isMessage) {
        known.said.state = 'open'
        setPassing(known, false)
      }
      return false
    }
    const head = JSON.stringify(about)
    const contents = JSON.stringify({ task, message })
    const link = about.seq === undefined ? undefined : links.get(`${about.run}.${about.seq}`)
    places += 1
    const entry: Entry = {
      place: places,
      head,
      contents,
      isMessage: message !== undefined,
      isPassing: false,
      puts: 1,
      said: {
        state: 'open',
        redrives: link?.redrives ?? 0,
        ...(link === undefined ? {} : { redriveOf: link.letter }),
        bytes: Buffer.byteLength(head) + Buffer.byteLength(contents),
      },
    }
    entries.set(about.id, entry)
    setPassing(entry, !entry.isMessage)
    dropOld()
    return true
  }

  const headOf = ({ head, said }: Entry): Letter => ({
    ...(JSON.parse(head) as Omit<NewLetter, 'task' | 'message'>),
    ...structuredClone(said),
  })

  return {
    async put(letters) {
      return letters.map(putOne)
    },

    async list({ limit, after, ...filter }) {
      const items: Letter[] = []
      for (const entry of [...entries.values()].toReversed()) {
        if (after !== undefined && entry.place >= Number(after)) continue
        const letter = headOf(entry)
        if (!fits(letter, filter)) continue
        items.push(letter)
        if (items.length >= limit) return { items, next: String(entry.place) }
      }
      return { items }
    },

    async get(ids) {
      return ids.map((id): WholeLetter | undefined => {
        const entry = entries.get(id)
        if (entry === undefined) return undefined
        return { ...headOf(entry), ...(JSON.parse(entry.contents) as object) }
      })
    },

    async claim(id, max) {
      const entry = entries.get(id)
      if (entry === undefined) return { granted: false, why: 'missing' }
      const { said, isMessage, puts } = entry
      if (said.redrives >= max) return { granted: false, why: 'often', redrives: said.redrives }
      if (isMessage && said.state === 'redriven') return { granted: false, why: 'gone' }
      said.redrives += 1
      return { granted: true, redrives: said.redrives, puts }
    },

    async unclaim(id) {
      const said = entries.get(id)?.said
      if (said !== undefined && said.redrives > 0) said.redrives -= 1
    },

    async redriven(id, as, puts) {
      const entry = entries.get(id)
      if (entry === undefined) return
      const { said } = entry
      const before = said.redrivenAs ?? []
      said.redrivenAs = before.at(-1) === as ? before : [...before, as]
      if (entry.isMessage && entry.puts !== puts) return
      said.state = 'redriven'
      setPassing(entry, true)
    },

    async link(run, all) {
      for (const { seq, letter, redrives } of all) {
        links.set(`${run}.${seq}`, { letter, redrives })
      }
    },
  }
}
