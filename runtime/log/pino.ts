/**
 * The log as everybody has it: pino. A record becomes a line of JSON with the keys ts_ms, level,
 * pid, thread, logger, stream and msg, with exc where an error was logged, and its own fields.
 */
import { type DestinationStream, type LoggerOptions, pino } from 'pino'
import { describeError } from '../../actors/errors.ts'
import type { Log, LogLevel } from '../../actors/ports.ts'

export interface PinoLogOptions {
  level: LogLevel
  /** `main`, or the name of a worker process. */
  thread: string
  /** Takes each line, with its line break, and must not throw. */
  write(line: string, level: LogLevel): void
}

type Fields = Record<string, unknown>
type Logger = Record<LogLevel, (fields: Fields, message: string) => void>

const levels: Record<number, LogLevel> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' }
/** Keys that say something else; a field of such a name gets a `_` behind it. */
const taken = new Set(['ts_ms', 'level', 'pid', 'thread', 'logger', 'stream', 'msg', 'exc'])
const usual = { logger: 'muster', stream: 'log' }
/** Loggers by name: few, for names are those of kinds. */
const loggersMax = 1000

export function pinoLog({ level, thread, write }: PinoLogOptions): Log {
  const destination = { ...withLevel, lastLevel: 30, write: () => {} } as PinoDestination
  destination.write = (line) => write(line, levels[destination.lastLevel] ?? 'info')
  const loggers = new Map<string, Logger>()
  const loggerOf = ({ logger, stream }: typeof usual): Logger => {
    const key = `${logger}\n${stream}`
    const known = loggers.get(key)
    if (known !== undefined) return known
    const base = { pid: process.pid, thread, logger, stream }
    const made = pino({ ...options, level, base }, destination)
    if (loggers.size < loggersMax) loggers.set(key, made)
    return made
  }
  const plain = loggerOf(usual)
  const logAt =
    (at: LogLevel) =>
    (fields: Fields, message: string): void => {
      if (isPlain(fields)) plain[at](fields, message)
      else {
        const { logger, stream, ...rest } = fitted(fields)
        loggerOf({ logger, stream })[at](rest, message)
      }
    }
  return { debug: logAt('debug'), info: logAt('info'), warn: logAt('warn'), error: logAt('error') }
}

interface PinoDestination extends DestinationStream {
  lastLevel: number
}

/** Asks pino to say of what level the line is that it writes. */
const withLevel = { [Symbol.for('pino.metadata')]: true }

const options: LoggerOptions = {
  timestamp: () => `,"ts_ms":${Date.now()}`,
  formatters: { level: (label) => ({ level: label }) },
  // Of an error there is `exc`.
  serializers: { err: (value: unknown) => value },
}

function isPlain(fields: Fields): boolean {
  for (const name in fields) {
    if (taken.has(name) || fields[name] instanceof Error) return false
  }
  return true
}

/** No key comes twice, and an error is told with where it comes from. */
function fitted(fields: Fields): Fields & typeof usual {
  const fits: Fields & typeof usual = { ...usual }
  for (const [name, value] of Object.entries(fields)) {
    if (name in usual && typeof value === 'string') fits[name] = value
    else if (value instanceof Error) {
      fits['exc'] ??= traceOf(value)
      if (!taken.has(name)) fits[name] = describeError(value).message
    } else fits[taken.has(name) ? `${name}_` : name] = value
  }
  return fits
}

/** Its stack, and those of its causes. */
function traceOf(error: Error): string {
  const traces: string[] = []
  let cause: unknown = error
  // An error may be its own cause.
  while (cause instanceof Error && traces.length < 10) {
    traces.push(cause.stack ?? String(cause))
    ;({ cause } = cause)
  }
  return traces.join('\ncaused by: ')
}
