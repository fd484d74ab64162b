/** What may be an idempotency key. */
import { UsageError } from '../actors/errors.ts'

/** Printable ASCII; blanks around it would not outlive a header. */
const pattern = /^(?! )[\x20-\x7e]{1,255}(?<! )$/

/**
 * @param where it was said, for the message
 * @throws UsageError
 */
export function checkKey(where: string, key: string): void {
  if (pattern.test(key)) return
  const got = key.length > 255 ? `${key.length} characters` : JSON.stringify(key)
  throw new UsageError(
    `${where}: expected 1 to 255 printable ASCII characters, no blank first or last, got ${got}`,
  )
}
