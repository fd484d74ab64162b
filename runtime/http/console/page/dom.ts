/**
 * Descriptions of elements, and bringing what is shown in line with them: what stays is changed in
 * place, so that focus, selection and the place scrolled to survive every update.
 */
type Handler = (event: Event) => void
export type Props = Record<string, string | number | boolean | null | undefined | Handler>
export type Child = Described | string | number | false | null | undefined | readonly Child[]

export interface Described {
  tag: string
  /** Finds the same element again among its neighbours, wherever it stands. */
  key: string | undefined
  props: Props
  children: readonly Child[]
}

const svg = 'http://www.w3.org/2000/svg'
const html = 'http://www.w3.org/1999/xhtml'
const props = new WeakMap<Element, Props>()
const keys = new WeakMap<Element, string>()

export function h(tag: string, given: Props | null, ...children: readonly Child[]): Described {
  const { key, ...rest } = given ?? {}
  return {
    tag,
    key: key === undefined || key === null ? undefined : String(key),
    props: rest,
    children,
  }
}

/** Makes the children of an element what is described. */
export function patch(parent: Element, children: readonly Child[]): void {
  const wanted: (Described | string)[] = []
  flatten(children, wanted)
  const keyed = new Map<string, Element>()
  for (const child of parent.children) {
    const key = keys.get(child)
    if (key !== undefined) keyed.set(key, child)
  }
  let at: ChildNode | null = parent.firstChild
  for (const want of wanted) {
    const node = typeof want === 'string' ? textAt(at, want) : elementAt(parent, at, want, keyed)
    if (node === at) at = at.nextSibling
    else parent.insertBefore(node, at)
    if (typeof want !== 'string' && node instanceof Element) update(node, want)
  }
  while (at !== null) {
    const next: ChildNode | null = at.nextSibling
    at.remove()
    at = next
  }
}

function flatten(children: readonly Child[], into: (Described | string)[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue
    if (typeof child === 'object' && 'tag' in child) into.push(child)
    else if (typeof child === 'object') flatten(child, into)
    else into.push(String(child))
  }
}

function textAt(at: ChildNode | null, text: string): ChildNode {
  if (!(at instanceof Text)) return document.createTextNode(text)
  if (at.data !== text) at.data = text
  return at
}

function elementAt(
  parent: Element,
  at: ChildNode | null,
  { tag, key }: Described,
  keyed: Map<string, Element>,
): ChildNode {
  if (key !== undefined) {
    const known = keyed.get(key)
    if (known?.localName === tag) return known
  } else if (at instanceof Element && at.localName === tag && !keys.has(at)) {
    return at
  }
  const isSvg =
    tag === 'svg' || (parent.namespaceURI === svg && parent.localName !== 'foreignObject')
  const made = document.createElementNS(isSvg ? svg : html, tag)
  if (key !== undefined) keys.set(made, key)
  return made
}

function update(element: Element, { props: next, children }: Described): void {
  const before = props.get(element) ?? {}
  for (const name of Object.keys(before)) if (!(name in next)) set(element, name, undefined)
  for (const [name, value] of Object.entries(next)) {
    if (before[name] !== value) set(element, name, value)
  }
  props.set(element, next)
  patch(element, children)
}

function set(element: Element, name: string, value: Props[string]): void {
  if (name.startsWith('on')) {
    Reflect.set(element, name, typeof value === 'function' ? value : null)
  } else if (value === undefined || value === null || value === false) {
    element.removeAttribute(name)
  } else if (typeof value !== 'function') {
    element.setAttribute(name, value === true ? '' : String(value))
  }
}
