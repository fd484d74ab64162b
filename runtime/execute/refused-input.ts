/** What an executor says of an input that should not have come as far as this. */
import type { Execution } from '../../actors/ports.ts'

export function refusedInput(
  issues: readonly { path: PropertyKey[]; message: string }[],
): Execution {
  const message = issues
    .map((issue) => `${['input', ...issue.path.map(String)].join('.')}: ${issue.message}`)
    .join('; ')
  return { outcome: 'failed', error: { code: 'INPUT', message }, stage: 'terminal' }
}
