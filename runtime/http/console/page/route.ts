/** Where the reader is, by the hash of the address: every place can be linked to. */

export interface Route {
  /** `runs/r-abc/3` is in three parts; the overview has none. */
  parts: readonly string[]
  query: URLSearchParams
}

export function readRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  const parts = path.split('/').filter((part) => part !== '')
  return { parts: parts.map(decode), query: new URLSearchParams(query) }
}

/** The address of a place; what is undefined is left out of it. */
export function link(
  parts: readonly string[],
  query: Record<string, string | undefined> = {},
): string {
  const given = Object.entries(query).filter(
    (pair): pair is [string, string] => pair[1] !== undefined,
  )
  const words = new URLSearchParams(given).toString()
  return `#/${parts.map(encodeURIComponent).join('/')}${words === '' ? '' : `?${words}`}`
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    // Somebody typed it: it leads nowhere, and that is said.
    return part
  }
}
