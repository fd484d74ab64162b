/** A screen of its own on the terminal, drawn again and again; as it was when it is left. */
import { writeOut } from '../execute/handler-prints.ts'

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class Screen {
  readonly #controller = new AbortController()
  #wasRaw = false

  /** Aborted when somebody leaves: q, Ctrl-C, or a signal. */
  get left(): AbortSignal {
    return this.#controller.signal
  }

  get columns(): number {
    return process.stdout.columns || 80
  }

  get rows(): number {
    return process.stdout.rows || 24
  }

  open(): void {
    for (const signal of signals) process.on(signal, this.#leave)
    const { stdin } = process
    if (stdin.isTTY) {
      this.#wasRaw = stdin.isRaw
      stdin.setRawMode(true)
      stdin.on('data', this.#onKeys)
      stdin.resume()
    }
    // The other screen, no cursor.
    writeOut('\x1b[?1049h\x1b[?25l')
  }

  /** Line by line over what was there, so that nothing flickers. */
  draw(lines: readonly string[]): void {
    const shown = lines.slice(0, this.rows)
    writeOut(`\x1b[H${shown.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`)
  }

  close(): void {
    for (const signal of signals) process.off(signal, this.#leave)
    const { stdin } = process
    if (stdin.isTTY) {
      stdin.off('data', this.#onKeys)
      stdin.setRawMode(this.#wasRaw)
      stdin.pause()
    }
    writeOut('\x1b[?25h\x1b[?1049l')
  }

  readonly #leave = () => this.#controller.abort()

  readonly #onKeys = (keys: Uint8Array) => {
    // q, Q, Ctrl-C, and Ctrl-D.
    if ([0x71, 0x51, 0x03, 0x04].some((key) => keys.includes(key))) this.#leave()
  }
}
