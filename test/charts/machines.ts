/** Every statechart of the program, by the name under which an inspector meets it. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { AnyStateMachine } from 'xstate'

const folder = join(import.meta.dir, '..', '..', 'machines')

export async function machines(): Promise<AnyStateMachine[]> {
  const found = new Map<string, AnyStateMachine>()
  for (const file of readdirSync(folder).toSorted()) {
    const exported = (await import(join(folder, file))) as Record<string, unknown>
    for (const value of Object.values(exported)) {
      if (isMachine(value)) found.set(value.id, value)
    }
  }
  return [...found.values()]
}

function isMachine(value: unknown): value is AnyStateMachine {
  return typeof value === 'object' && value !== null && 'root' in value && 'provide' in value
}
