/** The log of a node: pino, to stderr. Lines for people on a terminal, JSON for everything else. */
import { pino } from 'pino'
import type { Log, LogLevel } from '../../actors/ports.ts'

const names: Record<number, string> = { 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' }

export function pinoLog(level: LogLevel, fields: Record<string, unknown>): Log {
  const isTerminal = process.stderr.isTTY
  return pino(
    { level, base: fields },
    { write: (line: string) => process.stderr.write(isTerminal ? forPeople(line) : line) },
  )
}

/** `12:03:41 warn   an actor failed path=root/c`. */
function forPeople(line: string): string {
  const record = JSON.parse(line) as Record<string, unknown>
  const { level, time, msg, node: _node, ...rest } = record
  const at = new Date(Number(time)).toISOString().slice(11, 19)
  const fields = Object.entries(rest)
    .map(([name, value]) => ` ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('')
  return `${at} ${(names[Number(level)] ?? '').padEnd(5)}  ${String(msg)}${fields}\n`
}
