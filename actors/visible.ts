/**
 * What of a value may be looked at from outside: no secrets, no payload of tasks, nothing that
 * could be called, and never more than a viewer can take in.
 */

/** Parts of names under which secrets are kept, wherever they stand. */
const secretName =
  /token|secret|passw|authorization|cookie|credential|api[-_]?key|private[-_]?key|^auth$/i
/** What people give to their tasks and get from them; it is theirs, so only its size is told. */
const payloadNames = new Set(
  'args argv body env input output outcomes payload results stderr stdin stdout tasks'.split(' '),
)
/** Logins in URLs, and what is named as a secret in text. */
const loginInUrl = /(\b[a-z][a-z+.-]*:\/\/)[^\s/@]+@/gi
const secretInText =
  /((?:password|passwd|token|secret|api[-_]?key)["']?\s*[=:]\s*["']?)[^\s"'&,;]+/gi

const depthMax = 6
const itemsMax = 50
const charsMax = 500
/** Values in one answer. */
const valuesMax = 500

export type Visible = null | boolean | number | string | Visible[] | { [name: string]: Visible }

/**
 * A copy that JSON can write, of bounded size. What was left out says so in square brackets, such
 * as `[secret]`, `[3 items]`, `[circular]` or `[function settle]`.
 */
export function visible(value: unknown): Visible {
  return new Copy().of(value, 0)
}

class Copy {
  readonly #above = new Set<object>()
  #values = 0

  of(value: unknown, depth: number): Visible {
    this.#values += 1
    if (value === null || typeof value === 'boolean') return value
    if (typeof value === 'string') return shownText(value)
    if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
    if (typeof value === 'function') return `[function ${value.name}]`
    if (typeof value === 'bigint' || typeof value === 'symbol') return value.toString()
    if (typeof value !== 'object') return '[none]'
    if (this.#above.has(value)) return '[circular]'
    if (depth >= depthMax || this.#values > valuesMax) return sizeOf(value)
    this.#above.add(value)
    const copy = this.#inside(value, depth)
    this.#above.delete(value)
    return copy
  }

  #inside(value: object, depth: number): Visible {
    if (Array.isArray(value)) return this.#list(value, value.length, depth)
    if (value instanceof Set) return this.#list(value, value.size, depth)
    if (value instanceof Map) return this.#record(value, value.size, depth)
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? '[date]' : value.toJSON()
    if (value instanceof Error) return `${value.name}: ${shownText(value.message)}`
    if (isActor(value)) return { xstate$$type: 1, id: value.id }
    if (!isPlain(value)) return sizeOf(value)
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
    return this.#record(entries, entries.length, depth)
  }

  #list(values: Iterable<unknown>, count: number, depth: number): Visible {
    const list: Visible[] = []
    for (const value of values) {
      if (list.length === itemsMax || this.#values > valuesMax) break
      list.push(this.of(value, depth + 1))
    }
    if (list.length < count) list.push(`[${count - list.length} more]`)
    return list
  }

  #record(entries: Iterable<[unknown, unknown]>, count: number, depth: number): Visible {
    const record: Record<string, Visible> = {}
    let seen = 0
    for (const [key, value] of entries) {
      if (seen === itemsMax || this.#values > valuesMax) break
      seen += 1
      const name = shownText(String(key))
      if (secretName.test(name)) record[name] = '[secret]'
      else if (payloadNames.has(name) && typeof value !== 'number') record[name] = sizeOf(value)
      else record[name] = this.of(value, depth + 1)
    }
    if (seen < count) record['…'] = `[${count - seen} more]`
    return record
  }
}

function shownText(text: string): string {
  const head = text.slice(0, charsMax)
  const shown = head.replace(loginInUrl, '$1***@').replace(secretInText, '$1***')
  return text.length > charsMax ? `${shown}[${text.length - charsMax} more]` : shown
}

function sizeOf(value: unknown): string {
  if (typeof value === 'string') return `[${value.length} characters]`
  if (typeof value !== 'object' || value === null) return `[${typeof value}]`
  if (Array.isArray(value)) return `[${value.length} items]`
  if (value instanceof Map || value instanceof Set) return `[${value.size} items]`
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  return isPlain(value) ? '[object]' : `[${value.constructor.name}]`
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function isActor(value: object): value is { id: string } {
  return 'sessionId' in value && 'getSnapshot' in value && 'id' in value
}
