/** Where the command line speaks: data to stdout, everything else to stderr. */

import picocolors from 'picocolors'
import { writeOut } from '../execute/handler-prints.ts'

export type Colors = ReturnType<typeof picocolors.createColors>

export interface TerminalOptions {
  json: boolean
  quiet: boolean
  /** False for --no-color. */
  color: boolean
}

type Env = Record<string, string | undefined>

/** Colours only where someone looks, and nobody said no. */
export function wantsColor(isTerminal: boolean, color: boolean, env: Env): boolean {
  return isTerminal && color && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
}

export class Terminal {
  readonly json: boolean
  readonly quiet: boolean
  /** Colours for stdout and for stderr. */
  readonly out: Colors
  readonly err: Colors
  /** Stderr is a terminal on which a line can be drawn again. */
  readonly live: boolean
  /** The reader of stdout has gone (`| head`): there is nobody to write for. */
  closed = false

  constructor(options: TerminalOptions, env: Env = process.env) {
    this.json = options.json
    this.quiet = options.quiet
    const outIsTerminal = process.stdout.isTTY
    const errIsTerminal = process.stderr.isTTY
    this.out = picocolors.createColors(wantsColor(outIsTerminal, options.color, env))
    this.err = picocolors.createColors(wantsColor(errIsTerminal, options.color, env))
    this.live = errIsTerminal && env['TERM'] !== 'dumb' && !options.quiet
    const gone = () => {
      this.closed = true
    }
    process.stdout.on('error', gone)
    process.stderr.on('error', gone)
  }

  get columns(): number {
    // A terminal of unknown width says 0.
    return process.stderr.columns || 80
  }

  /** Data. Resolves when it is out, so that a slow reader slows us down. */
  print(text: string): Promise<void> {
    if (this.closed || text === '') return Promise.resolve()
    return new Promise((resolve) => {
      writeOut(text, (error) => {
        if (error) this.closed = true
        resolve()
      })
    })
  }

  /** A message that --quiet hides. */
  say(line: string): void {
    if (!this.quiet) this.warn(line)
  }

  /** A message that nothing hides. */
  warn(line: string): void {
    process.stderr.write(`${line}\n`)
  }
}
