/**
 * Waiting without sleeping: try an assertion until it holds. A test that waits for a fact is as
 * fast as the fact on a quick machine and still right on a slow one.
 */

export interface EventuallyOptions {
  /** How long the fact may take. Default 20 000: a loaded machine is no failure. */
  timeoutMs?: number
  /** Pause between two tries. Default 10. */
  intervalMs?: number
}

/**
 * Resolves with what `assertion` returns as soon as it does not throw.
 * @throws Error with the assertion's last error, in words and as `cause`, after `timeoutMs`
 */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  { timeoutMs = 20_000, intervalMs = 10 }: EventuallyOptions = {},
): Promise<T> {
  let lastError: unknown = new Error('the assertion itself did not end')
  let tries = 0
  const late = Symbol('late')
  const alarm = Promise.withResolvers<typeof late>()
  const timer = setTimeout(() => alarm.resolve(late), timeoutMs)
  try {
    while (true) {
      tries++
      const attempt = await Promise.race([outcomeOf(assertion), alarm.promise])
      if (attempt === late) break
      if ('value' in attempt) return attempt.value
      lastError = attempt.error
      if ((await Promise.race([Bun.sleep(intervalMs), alarm.promise])) === late) break
    }
  } finally {
    clearTimeout(timer)
  }
  const reason = lastError instanceof Error ? lastError.message : String(lastError)
  throw new Error(`not so within ${timeoutMs} ms (${tries} tries); at last: ${reason}`, {
    cause: lastError,
  })
}

async function outcomeOf<T>(
  assertion: () => T | Promise<T>,
): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await assertion() }
  } catch (error) {
    return { error }
  }
}
