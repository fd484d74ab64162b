/** `<data>/baseline/<id>.json`: what is usual for a node, from one start to the next. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BaselineStore } from '../actors/ports-health.ts'

export function baselineFile(dataDir: string, id: string): BaselineStore {
  const folder = join(dataDir, 'baseline')
  const path = join(folder, `${id}.json`)
  return {
    async load() {
      try {
        const kept: unknown = JSON.parse(await readFile(path, 'utf8'))
        return kept
      } catch (error) {
        // None yet, or something else than what is written here: it is made anew.
        const isAbsent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
        if (isAbsent || error instanceof SyntaxError) return undefined
        throw error
      }
    },
    async save(kept) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const written = `${path}.${process.pid}.new`
      await writeFile(written, JSON.stringify(kept), { mode: 0o600 })
      // Whoever reads finds the one or the other, and never half of it.
      await rename(written, path)
    },
  }
}
