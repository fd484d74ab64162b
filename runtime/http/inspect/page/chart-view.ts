/** The chart of the chosen actor's machine, with the states that it is in. */
import { activeOf } from './model.ts'

/** Share of its size to which a chart may shrink. */
const smallest = 0.75

const drawings = new Map<string, Promise<SVGElement | undefined>>()

async function draw(machine: string): Promise<SVGElement | undefined> {
  const response = await fetch(`/inspect/charts/${machine}.svg`)
  if (!response.ok) return undefined
  const parsed = new DOMParser().parseFromString(await response.text(), 'image/svg+xml')
  const { documentElement: root } = parsed
  return root instanceof SVGElement ? root : undefined
}

function drawing(machine: string): Promise<SVGElement | undefined> {
  const known = drawings.get(machine)
  if (known !== undefined) return known
  const made = draw(machine).catch(() => {
    // The node may be away; it is asked again the next time.
    drawings.delete(machine)
    return undefined
  })
  drawings.set(machine, made)
  return made
}

export class ChartView {
  readonly #element: HTMLElement
  #machine: string | undefined
  #words = ''
  #svg: Element | undefined
  #active = new Set<string>()

  constructor(element: HTMLElement) {
    this.#element = element
  }

  /** @param machine undefined: it is no machine, or nobody knows which */
  show(machine: string | undefined, words: string): void {
    this.#words = words
    if (machine !== this.#machine || this.#svg === undefined) void this.#load(machine)
    else this.#light()
  }

  async #load(machine: string | undefined): Promise<void> {
    const isOther = machine !== this.#machine
    this.#machine = machine
    if (isOther) this.#svg = undefined
    const drawn = machine === undefined ? undefined : await drawing(machine)
    // Another one was chosen meanwhile.
    if (machine !== this.#machine) return
    if (drawn === undefined) {
      this.#element.replaceChildren(note('There is no chart of this actor.'))
      return
    }
    const svg = document.importNode(drawn, true)
    // Smaller where there is less room, but not too small to be read.
    svg.style.minWidth = `${Number(svg.getAttribute('width')) * smallest}px`
    this.#element.replaceChildren(svg)
    this.#svg = svg
    this.#active = new Set()
    this.#light()
    this.#showActive(svg)
  }

  /** Where the chart is wider than its place; the page itself stays where it is. */
  #showActive(svg: Element): void {
    const active = svg.querySelector('.state.active:not([data-path=""]) > rect')
    if (active === null) return
    const [inside, outside] = [active, this.#element].map((each) => each.getBoundingClientRect())
    if (inside === undefined || outside === undefined) return
    const off = inside.left + inside.width / 2 - (outside.left + outside.width / 2)
    this.#element.scrollLeft += off
  }

  #light(): void {
    const states = [...(this.#svg?.querySelectorAll<SVGElement>('.state') ?? [])]
    const known = states.map(({ dataset }) => dataset['path'] ?? '')
    const active = activeOf(this.#words, known)
    for (const state of states) {
      const path = state.dataset['path'] ?? ''
      const isOuter = [...active].some((other) => path !== '' && other.startsWith(`${path}.`))
      state.classList.toggle('active', active.has(path))
      state.classList.toggle('outer', active.has(path) && isOuter)
    }
    const before = this.#active
    const entered = [...active].filter((path) => !before.has(path))
    if (entered.length === 0 || before.size === 0) {
      this.#active = active
      return
    }
    for (const edge of this.#svg?.querySelectorAll<SVGElement>('.edge') ?? []) {
      const { from = '', to = '' } = edge.dataset
      edge.classList.toggle('taken', before.has(from) && !active.has(from) && entered.includes(to))
    }
    this.#active = active
  }
}

function note(words: string): HTMLElement {
  const paragraph = document.createElement('p')
  paragraph.className = 'muted'
  paragraph.textContent = words
  return paragraph
}
