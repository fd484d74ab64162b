/** A tree of supervisors over children that do what a test says. */
import { DeadLetters } from '../../actors/dead-letters.ts'
import { service } from '../../actors/service.ts'
import type { NamedChild } from '../../actors/supervisor.ts'
import { systemClock } from '../../runtime/clock.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} }
const { tell } = new DeadLetters({ clock: systemClock, log })

/** Children that write down when they are opened and closed, and fail when they are told to. */
export class Nursery {
  readonly events: string[] = []
  readonly #fail = new Map<string, (error: unknown) => void>()
  readonly #lives = new Map<string, number>()

  child(
    id: string,
    over: { open?: (life: number) => Promise<void>; close?: () => Promise<void> } = {},
    plan: Omit<NamedChild, 'id' | 'spec'> = {},
  ) {
    const named: NamedChild = {
      id,
      ...plan,
      spec: () => {
        const life = (this.#lives.get(id) ?? 0) + 1
        this.#lives.set(id, life)
        return service({
          tell,
          open: async (fail) => {
            this.events.push(`open ${id}`)
            this.#fail.set(id, fail)
            await over.open?.(life)
          },
          close: async () => {
            this.events.push(`close ${id}`)
            await over.close?.()
          },
        })
      },
    }
    return named
  }

  fail(id: string, error: unknown = new Error(`${id} broke`)): void {
    this.#fail.get(id)?.(error)
  }
}
