/**
 * A look at the input of an `exec` task that is quicker than its schema: it says yes to what is
 * surely right, and leaves everything else, and every word about what is wrong, to the schema
 * (actors/exec-input.ts).
 */
export function isPlainExecInput(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  let hasArgv = false
  for (const field in value) {
    const said = (value as Record<string, unknown>)[field]
    if (field === 'argv') {
      if (!isPlainArgv(said)) return false
      hasArgv = true
    } else if (field !== 'stdin' || typeof said !== 'string') {
      return false
    }
  }
  return hasArgv
}

function isPlainArgv(said: unknown): boolean {
  if (!Array.isArray(said) || said.length === 0 || said[0] === '') return false
  for (const word of said as unknown[]) {
    if (typeof word !== 'string' || word.includes('\0')) return false
  }
  return true
}
