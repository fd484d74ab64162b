/**
 * A task line: one unit of work as its author writes it (contract section 5), and the check that
 * lets it in or says where it is wrong.
 */
import { z } from 'zod'
import type { Priority } from './ports.ts'

const priorities = ['critical', 'high', 'normal', 'low'] as const satisfies Priority[]

const countingNumber = z.int().min(1)
const name = z.string().min(1).max(512)

/** How `retryOn` and `neverOn` name what went wrong. */
const failureClass = z.string().regex(/^(exit:\d{1,3}|code:\S{1,100}|timeout|unreached)$/, {
  error: (issue) =>
    `expected exit:N, code:NAME, timeout or unreached, got ${JSON.stringify(issue.input)}`,
})

/** Least and most of what is a whole number in a task line. */
export const taskNumbers = {
  timeoutMs: [1, 86_400_000],
  attempts: [1, 100],
  delayMs: [0, 31_536_000_000],
} as const

const whole = ([min, max]: readonly [number, number]) => z.int().min(min).max(max)

/** Every field of a task line but `input`, which belongs to its kind. */
export const taskLine = z.strictObject({
  kind: name,
  input: z.unknown().optional(),
  id: name.optional(),
  target: name.optional(),
  key: name.optional(),
  priority: z.enum(priorities).optional(),
  timeoutMs: whole(taskNumbers.timeoutMs).optional(),
  attempts: whole(taskNumbers.attempts).optional(),
  delayMs: whole(taskNumbers.delayMs).optional(),
  deadlineMs: countingNumber.optional(),
  delivery: z.enum(['at-least-once', 'at-most-once']).optional(),
  dependsOn: z.array(name).max(1000).optional(),
  placement: z.enum(['any', 'balanced', 'sharded', 'all']).optional(),
  select: z.record(z.string(), z.string()).optional(),
  dedupeKey: name.optional(),
  dedupeTtlMs: countingNumber.optional(),
  retryOn: z.array(failureClass).optional(),
  neverOn: z.array(failureClass).optional(),
  labels: z.record(z.string(), z.string()).optional(),
})

/** A task as it travels: what its line said, without what its envelope says for all. */
export type Task = Omit<z.infer<typeof taskLine>, 'kind' | 'priority'>

/** A task as its submitter writes it. */
export type TaskLine = Task & { kind: string; priority?: Priority }

export interface AcceptedTask {
  kind: string
  priority: Priority
  task: Task
}

/** A line that was not taken, and why. `line` counts from 1; `path` is where in it. */
export interface Rejection {
  line: number
  path: string
  message: string
}
