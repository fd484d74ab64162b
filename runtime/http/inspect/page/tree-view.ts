/** The tree of actors: of thousands only those in sight are elements. */
import type { Actors, Row } from './model.ts'

const rowHeight = 30
const indent = 14
/** Rows above and below the ones in sight, so that scrolling shows no gaps. */
const spare = 10

export interface TreeViewOptions {
  actors: Actors
  element: HTMLElement
  selected(path: string): void
}

export class TreeView {
  readonly #options: TreeViewOptions
  readonly #space = document.createElement('div')
  readonly #items = new Map<string, HTMLElement>()
  #rows: Row[] = []
  #filter = ''
  #path = ''

  constructor(options: TreeViewOptions) {
    this.#options = options
    const { element } = options
    this.#space.setAttribute('role', 'presentation')
    element.append(this.#space)
    element.addEventListener('scroll', () => this.paint())
    element.addEventListener('keydown', (event) => this.#pressed(event))
    element.addEventListener('click', (event) => this.#clicked(event))
    new ResizeObserver(() => this.paint()).observe(element)
  }

  get path(): string {
    return this.#path
  }

  get count(): number {
    return this.#rows.length
  }

  filter(words: string): void {
    this.#filter = words
    this.refresh()
  }

  /** The tree has changed, or what of it is unfolded. */
  refresh(): void {
    const { element } = this.#options
    const before = this.#indexOf(this.#path)
    this.#rows = this.#options.actors.rows(this.#filter)
    this.#space.style.height = `${this.#rows.length * rowHeight}px`
    const after = this.#indexOf(this.#path)
    // Whoever looks at an actor goes on to see it when others come and go above.
    const isInSight = before * rowHeight >= element.scrollTop
    if (before >= 0 && after >= 0 && isInSight && element.scrollTop > 0) {
      element.scrollTop += (after - before) * rowHeight
    }
    this.paint()
  }

  select(path: string): void {
    this.#path = path
    const index = this.#indexOf(path)
    if (index >= 0) this.#reveal(index)
    this.paint()
    this.#options.selected(path)
  }

  /** States have changed, or other rows are in sight. */
  paint(): void {
    const { element } = this.#options
    const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - spare)
    const last = Math.ceil((element.scrollTop + element.clientHeight) / rowHeight) + spare
    const gone = new Set(this.#items.keys())
    for (const [index, row] of this.#rows.slice(first, last).entries()) {
      const { path } = row.node
      gone.delete(path)
      const item = this.#items.get(path) ?? this.#newItem(path)
      this.#fill(item, row, first + index)
    }
    for (const path of gone) {
      this.#items.get(path)?.remove()
      this.#items.delete(path)
    }
    const chosen = this.#items.get(this.#path)
    if (chosen === undefined) element.removeAttribute('aria-activedescendant')
    else element.setAttribute('aria-activedescendant', chosen.id)
  }

  #indexOf(path: string): number {
    return this.#rows.findIndex(({ node }) => node.path === path)
  }

  #newItem(path: string): HTMLElement {
    const item = document.createElement('div')
    item.className = 'item'
    item.setAttribute('role', 'treeitem')
    item.dataset['path'] = path
    item.title = path
    for (const name of ['fold', 'name', 'badge']) {
      const part = document.createElement('span')
      part.className = name
      item.append(part)
    }
    item.firstElementChild?.setAttribute('aria-hidden', 'true')
    this.#items.set(path, item)
    this.#space.append(item)
    return item
  }

  #fill(item: HTMLElement, row: Row, index: number): void {
    const { node, level, place, siblings, fold } = row
    const [sign, name, badge] = [...item.children] as HTMLElement[]
    if (sign === undefined || name === undefined || badge === undefined) return
    const state = this.#options.actors.stateOf(node)
    item.id = `actor-${index}`
    item.style.top = `${index * rowHeight}px`
    item.style.paddingLeft = `${(level - 1) * indent}px`
    const isSelected = String(node.path === this.#path)
    setAttributes(item, { level, posinset: place, setsize: siblings, selected: isSelected })
    if (fold === undefined) item.removeAttribute('aria-expanded')
    else setAttributes(item, { expanded: String(fold === 'open') })
    setText(sign, fold === undefined ? '' : fold === 'open' ? '▾' : '▸')
    setText(name, node.id)
    setText(badge, node.restarts > 0 ? `${state} · ${node.restarts} restarts` : state)
    const sort = sortOf(state, node.lastError !== undefined)
    if (badge.className !== sort) badge.className = sort
  }

  #clicked({ target }: Event): void {
    const { element } = this.#options
    if (!(target instanceof Element)) return
    const path = target.closest<HTMLElement>('.item')?.dataset['path']
    if (path === undefined) return
    element.focus({ preventScroll: true })
    if (target.classList.contains('fold')) this.#fold(path)
    else this.select(path)
  }

  #fold(path: string, isOpen?: boolean): void {
    const row = this.#rows.find(({ node }) => node.path === path)
    if (row?.fold === undefined) return
    this.#options.actors.toggle(path, isOpen ?? row.fold === 'closed')
    this.refresh()
  }

  #pressed(event: KeyboardEvent): void {
    const index = this.#indexOf(this.#path)
    const row = this.#rows[index]
    const page = Math.max(1, Math.floor(this.#options.element.clientHeight / rowHeight) - 1)
    const steps: Record<string, number> = {
      ArrowDown: index + 1,
      ArrowUp: index - 1,
      Home: 0,
      End: this.#rows.length - 1,
      PageDown: index + page,
      PageUp: index - page,
    }
    const step = steps[event.key]
    if (step !== undefined) this.#goTo(step)
    else if (row === undefined) return
    else if (event.key === 'ArrowRight') {
      if (row.fold === 'closed') this.#fold(this.#path, true)
      else if (row.fold === 'open') this.#goTo(index + 1)
    } else if (event.key === 'ArrowLeft') {
      const above = this.#path.slice(0, this.#path.lastIndexOf('/'))
      if (row.fold === 'open') this.#fold(this.#path, false)
      else this.#goTo(this.#indexOf(above))
    } else if (event.key === 'Enter' || event.key === ' ') this.#fold(this.#path)
    else return
    event.preventDefault()
  }

  #goTo(index: number): void {
    const row = this.#rows[Math.min(this.#rows.length - 1, Math.max(0, index))]
    if (row !== undefined) this.select(row.node.path)
  }

  #reveal(index: number): void {
    const { element } = this.#options
    const top = index * rowHeight
    const isAbove = top < element.scrollTop
    const isBelow = top + rowHeight > element.scrollTop + element.clientHeight
    if (isAbove) element.scrollTop = top
    else if (isBelow) element.scrollTop = top + rowHeight - element.clientHeight
  }
}

function setAttributes(item: HTMLElement, values: Record<string, string | number>): void {
  for (const [name, value] of Object.entries(values)) {
    const text = String(value)
    if (item.getAttribute(`aria-${name}`) !== text) item.setAttribute(`aria-${name}`, text)
  }
}

export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** How a state is coloured: what goes on, what waits, and what is wrong. */
export function sortOf(state: string, hasFailed: boolean): string {
  if (/^(failed|error|suspended|fallen)/.test(state)) return 'badge bad'
  if (/^(backingOff|starting|stopping|waiting|draining)/.test(state)) return 'badge warn'
  if (hasFailed) return 'badge warn'
  return /^(stopped|done)/.test(state) ? 'badge' : 'badge live'
}
