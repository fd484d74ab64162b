/** Where processes of the product are to crash (crash.ts), told while they run. */
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from './directory.ts'

export type CrashRole = 'node' | 'worker' | 'cli'

export class CrashPlans {
  readonly #folder = temporaryDirectory()

  /** The environment of processes that are to crash; worker processes have it of their node. */
  env(role: Exclude<CrashRole, 'worker'> = 'node'): Record<string, string> {
    return {
      BUN_OPTIONS: `--preload ${join(import.meta.dir, 'crash.ts')}`,
      CRASH_FOLDER: this.#folder,
      CRASH_ROLE: role,
    }
  }

  /** One process of that role crashes the n-th time, counted from now, that it is there. */
  arm(role: CrashRole, point: string, nth = 1): void {
    const file = this.#file(role)
    rmSync(`${file}.fired`, { force: true })
    // Whole or not at all: it is read at any moment.
    writeFileSync(`${file}.new`, JSON.stringify({ point, nth }))
    renameSync(`${file}.new`, file)
  }

  /** Takes the plan back. Returns when it was carried out, epoch ms, or undefined if it was not. */
  disarm(role: CrashRole): number | undefined {
    const file = this.#file(role)
    rmSync(file, { force: true })
    return this.firedAt(role)
  }

  firedAt(role: CrashRole): number | undefined {
    const fired = `${this.#file(role)}.fired`
    // A rename changes the ctime of what it renames.
    return existsSync(fired) ? statSync(fired).ctimeMs : undefined
  }

  #file(role: CrashRole): string {
    return join(this.#folder, `${role}.json`)
  }
}
