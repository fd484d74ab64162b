/** Progress of a run on stderr: one line drawn again on a terminal, a line every 10 s elsewhere. */
import type { Run } from '../../actors/ports-runs.ts'
import { outcomes } from '../../machines/outcome.ts'
import { elapsed } from './elapsed.ts'
import type { Terminal } from './terminal.ts'

/** A short run should end before anything flickers. */
const appearsAfterMs = 300
const redrawMs = 100
const lineMs = 10_000
/** The rate is that of the last seconds, not of the whole run. */
const rateWindowMs = 5000

export interface Pace {
  /** Tasks per second. */
  rate: number
}

/** One line of progress, at most `columns` wide. */
export function progressLine(run: Run, pace: Pace, columns: number): string {
  const done = run.total - run.counts.pending
  const open = run.state === 'accepting'
  const counts = outcomes
    .filter((outcome) => outcome === 'ok' || run.counts[outcome] > 0)
    .map((outcome) => `${outcome} ${group(run.counts[outcome])}`)
  const parts = [`${group(done)}/${group(run.total)}${open ? '+' : ''}`, ...counts]
  if (pace.rate > 0) {
    parts.push(`${group(pace.rate < 10 ? Math.round(pace.rate * 10) / 10 : pace.rate)}/s`)
    if (!open) parts.push(`eta ${elapsed((run.counts.pending / pace.rate) * 1000)}`)
  }
  if (run.state === 'paused') parts.push('paused')
  const text = parts.join('  ')
  const width = Math.min(24, columns - text.length - 3)
  const bar = width < 6 || run.total === 0 ? '' : `${barOf(done / run.total, width)}  `
  return `${bar}${text}`.slice(0, columns - 1)
}

function barOf(share: number, width: number): string {
  const full = Math.round(share * width)
  return '█'.repeat(full) + '░'.repeat(width - full)
}

function group(count: number): string {
  return count < 10 ? String(count) : Math.round(count).toLocaleString('en-US')
}

export class Progress {
  readonly #terminal: Terminal
  readonly #startedAt = performance.now()
  #timer: ReturnType<typeof setInterval> | undefined
  #line: (() => string) | undefined
  #drawn = ''
  #announcement: ReturnType<typeof setTimeout> | undefined
  #samples: { at: number; done: number }[] = []

  constructor(terminal: Terminal) {
    this.#terminal = terminal
    if (terminal.quiet) return
    this.#timer = setInterval(() => this.#draw(), terminal.live ? redrawMs : lineMs)
    this.#timer.unref()
  }

  /** Before the run has a name: how much of its source was handed over. */
  sent(bytes: number, totalBytes: number | undefined): void {
    const size = `${(bytes / 1_048_576).toFixed(1)} MiB`
    this.#line = () =>
      totalBytes === undefined || totalBytes === 0
        ? `sending  ${size}`
        : `sending  ${Math.min(100, Math.round((bytes / totalBytes) * 100))} %  ${size}`
  }

  update(run: Run): void {
    const now = performance.now()
    const done = run.total - run.counts.pending
    this.#samples.push({ at: now, done })
    while ((this.#samples[1]?.at ?? now) < now - rateWindowMs) this.#samples.shift()
    const first = this.#samples[0]
    const elapsedMs = first === undefined ? 0 : now - first.at
    const rate = elapsedMs < 50 ? 0 : ((done - (first?.done ?? 0)) / elapsedMs) * 1000
    this.#line = () => progressLine(run, { rate }, this.#terminal.columns)
  }

  /** A message about a run that lasts: a short one ends before it is said. */
  announce(text: string): void {
    this.#announcement = setTimeout(() => {
      this.clear()
      this.#terminal.say(text)
    }, appearsAfterMs)
    this.#announcement.unref()
  }

  /** Make way for a message; the next redraw brings the line back. */
  clear(): void {
    if (this.#drawn !== '') process.stderr.write('\r\x1b[2K')
    this.#drawn = ''
  }

  stop(): void {
    clearTimeout(this.#announcement)
    clearInterval(this.#timer)
    this.clear()
  }

  #draw(): void {
    if (this.#line === undefined || performance.now() - this.#startedAt < appearsAfterMs) return
    if (!this.#terminal.live) {
      this.#terminal.say(this.#line())
      return
    }
    const text = this.#line()
    if (text === this.#drawn) return
    process.stderr.write(`\r\x1b[2K${text}`)
    this.#drawn = text
  }
}
