/** What every verb is told. */
import type { Terminal } from './terminal.ts'

/** The flags that stand anywhere before `--`. */
export interface Globals {
  config?: string
  data?: string
  redis?: string
  url?: string
  json: boolean
  quiet: boolean
  color: boolean
  tokenFile?: string
  debug: boolean
}

export interface Invocation {
  globals: Globals
  terminal: Terminal
  /** The words after `--`, when there was one. */
  argv?: readonly string[]
}
