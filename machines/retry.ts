/** Whether a task that did not succeed is tried again. Pure. */

export interface RetryQuestion {
  /** How this attempt ended. */
  outcome: 'failed' | 'timeout'
  /** `start`: it never got to run; `run`: it ran and said no; `terminal`: it asks for no more. */
  stage: 'run' | 'start' | 'terminal'
  errorCode?: string
  exitCode?: number
  /** Number of this attempt; 1 is the first. */
  attempt: number
  /** What the task's author asked for. */
  attempts?: number
  retryOn?: readonly string[]
  neverOn?: readonly string[]
  /** What its kind does by default. */
  kindAttempts: number
  /** The kind runs commands: what ran and said no is final unless the author says otherwise. */
  command: boolean
}

/** The classes an ended attempt belongs to, as `retryOn` and `neverOn` name them. */
export function failureClasses(question: RetryQuestion): string[] {
  return [
    ...(question.outcome === 'timeout' ? ['timeout'] : []),
    ...(question.exitCode === undefined ? [] : [`exit:${question.exitCode}`]),
    ...(question.errorCode === undefined ? [] : [`code:${question.errorCode}`]),
    ...(question.errorCode === 'UNREACHED' ? ['unreached'] : []),
  ]
}

export function triesAgain(question: RetryQuestion): boolean {
  const { attempt, attempts, retryOn, neverOn, kindAttempts, stage, command } = question
  if (attempt >= (attempts ?? kindAttempts)) return false
  if (stage === 'terminal') return false
  const classes = failureClasses(question)
  if (neverOn?.some((name) => classes.includes(name))) return false
  if (stage === 'start') return true
  if (retryOn !== undefined) return retryOn.some((name) => classes.includes(name))
  return !command || attempts !== undefined
}
