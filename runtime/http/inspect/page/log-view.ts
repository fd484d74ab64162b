/** The latest events, newest first. */
import type { Happening } from './model.ts'

const keptMax = 500
const shownMax = 150

export class LogView {
  readonly #element: HTMLElement
  readonly #clock = new Intl.DateTimeFormat(undefined, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
    hourCycle: 'h23',
  })
  #kept: Happening[] = []
  #filter = ''
  #isPaused = false

  constructor(element: HTMLElement) {
    this.#element = element
  }

  add(happening: Happening): void {
    if (this.#isPaused) return
    this.#kept.push(happening)
    if (this.#kept.length > 2 * keptMax) this.#kept = this.#kept.slice(-keptMax)
  }

  pause(isPaused: boolean): void {
    this.#isPaused = isPaused
  }

  clear(): void {
    this.#kept = []
    this.paint()
  }

  filter(words: string): void {
    this.#filter = words.trim().toLowerCase()
    this.paint()
  }

  paint(): void {
    const shown = this.#kept
      .filter(({ path }) => path.toLowerCase().includes(this.#filter))
      .slice(-shownMax)
      .toReversed()
    this.#element.replaceChildren(...shown.map((happening) => this.#line(happening)))
  }

  #line({ at, type, path, source, more }: Happening): HTMLElement {
    const line = document.createElement('li')
    const time = document.createElement('time')
    time.textContent = this.#clock.format(at)
    line.append(time, part('type', more === 0 ? type : `${type} +${more}`), part('path', path))
    if (source !== undefined) line.append(part('path', `from ${source}`))
    return line
  }
}

function part(name: string, words: string): HTMLElement {
  const span = document.createElement('span')
  span.className = name
  span.textContent = words
  return span
}
