/** What a task of kind `exec` says: a program with its arguments, and what it may use. */
import { z } from 'zod'
import { outputBytesHighest } from './sayable.ts'

const dayMs = 86_400_000
const shellSyntax = /[|&;<>()$`\\"'*?{}~#\n]/

/** What came, short enough for a message. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'number' || typeof value === 'boolean') return `the ${typeof value} ${value}`
  if (typeof value !== 'string') return `an ${typeof value}`
  return `the string ${JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)}`
}

function argvMessage(value: unknown): string {
  const message = `expected a non-empty array of strings, got ${shown(value)}`
  if (typeof value !== 'string' || value.trim() === '') return message
  const meant = shellSyntax.test(value) ? ['sh', '-c', value] : value.trim().split(/\s+/)
  return `${message}; there is no shell: write ${JSON.stringify(meant)}`
}

function wordMessage(value: unknown): string {
  if (typeof value !== 'string') return `expected a string, got ${shown(value)}`
  return value === ''
    ? 'expected a non-empty string, got an empty one'
    : 'expected a string without NUL characters: no program can be given one'
}

const isFreeOfNul = (text: string) => !text.includes('\0')

const word = z
  .string({ error: (issue) => wordMessage(issue.input) })
  .refine(isFreeOfNul, { error: (issue) => wordMessage(issue.input) })

const filledWord = word.refine((text) => text !== '', {
  error: (issue) => wordMessage(issue.input),
})

const variableName = z
  .string()
  .regex(/^[^=\0]+$/, 'expected the name of a variable, without "=" and NUL')
const variableValue = z
  .string()
  .refine(isFreeOfNul, 'expected a string without NUL characters: no variable can hold one')

const amount = z.int().min(1)
/** Linux has no more. */
const pidsHighest = 4_194_304

export const execInput = z.strictObject({
  argv: z
    .array(word, { error: (issue) => argvMessage(issue.input) })
    .min(1, { error: (issue) => argvMessage(issue.input) })
    // An argument may be empty (grep ''), the program's name may not.
    .refine((argv) => argv[0] !== '', { path: [0], error: () => wordMessage('') }),
  cwd: filledWord.optional(),
  env: z.record(variableName, variableValue).optional(),
  stdin: z.string().optional(),
  okExitCodes: z.array(z.int().min(0).max(255)).min(1).optional(),
  limits: z
    .strictObject({
      memoryBytes: amount.optional(),
      cpuSeconds: amount.optional(),
      pids: amount.max(pidsHighest).optional(),
      outputBytes: z.int().min(0).max(outputBytesHighest).optional(),
    })
    .optional(),
  stallMs: amount.max(dayMs).optional(),
})

export type ExecInput = z.infer<typeof execInput>
export type ExecLimits = NonNullable<ExecInput['limits']>

/**
 * How the limits that were asked for are held: not asked for; by rlimits, on each process by
 * itself; by a cgroup, on all processes of the command together. Processor time is held by rlimits
 * always.
 */
export type LimitsMode =
  | 'none'
  | 'rlimit'
  | 'cgroup1'
  | 'cgroup2'
  | 'cgroup1+rlimit'
  | 'cgroup2+rlimit'

/** What is known of a command that ran. `exitCode` is null when a signal ended it. */
export interface ExecOutput {
  exitCode: number | null
  signal: string | null
  /** The head of it; invalid UTF-8 is U+FFFD. */
  stdout: string
  stderr: string
  /** Some of stdout or stderr was not kept. */
  truncated: boolean
  /** All that was written, kept or not. */
  stdoutBytes: number
  stderrBytes: number
  durationMs: number
  limitsMode: LimitsMode
}
