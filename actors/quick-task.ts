/**
 * A look at a task line that is quicker than its schema: it says yes to what is surely right, and
 * leaves everything else, and every word about what is wrong, to the schema (actors/task.ts).
 */
import type { Priority } from './ports.ts'
import { type Task, taskNumbers } from './task.ts'

/** What a line says, or undefined: ask the schema. */
export interface QuickTask {
  kind: string
  priority: Priority
  task: Task
}

const isName = (value: unknown) =>
  typeof value === 'string' && value.length >= 1 && value.length <= 512

const isWhole = (value: unknown, [min, max]: readonly [min: number, max: number]) =>
  typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max

/** @param value a plain object, as JSON.parse makes them */
export function quickTask(value: object): QuickTask | undefined {
  let kind: string | undefined
  let priority: Priority = 'normal'
  const task: Task = {}
  for (const field in value) {
    const said = (value as Record<string, unknown>)[field]
    switch (field) {
      case 'kind':
        if (!isName(said)) return undefined
        kind = said as string
        break
      case 'input':
        task.input = said
        break
      case 'id':
      case 'key':
        if (!isName(said)) return undefined
        task[field] = said as string
        break
      case 'priority':
        if (said !== 'critical' && said !== 'high' && said !== 'normal' && said !== 'low') {
          return undefined
        }
        priority = said
        break
      case 'timeoutMs':
      case 'attempts':
      case 'delayMs':
        if (!isWhole(said, taskNumbers[field])) return undefined
        task[field] = said as number
        break
      default:
        return undefined
    }
  }
  return kind === undefined ? undefined : { kind, priority, task }
}
