/** A log that says something about all that is logged with it. */
import type { Log } from './ports.ts'

export function withFields(log: Log, always: Record<string, unknown>): Log {
  return {
    debug: (fields, message) => log.debug({ ...always, ...fields }, message),
    info: (fields, message) => log.info({ ...always, ...fields }, message),
    warn: (fields, message) => log.warn({ ...always, ...fields }, message),
    error: (fields, message) => log.error({ ...always, ...fields }, message),
  }
}
