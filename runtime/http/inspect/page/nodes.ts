/** The other nodes, each with a page like this one. */

interface NodesAnswer {
  /** This one. */
  node: string
  /** Whether there is a page that hands what is seen to Stately's inspector. */
  bridge: boolean
  items: { id: string; state: string; url?: string }[]
}

export async function showNodes(element: HTMLElement): Promise<void> {
  const response = await fetch('/inspect/nodes')
  if (!response.ok) return
  const { node, bridge, items } = (await response.json()) as NodesAnswer
  const links = items.map(({ id, url }) => {
    const link = document.createElement('a')
    link.textContent = id
    if (id === node) link.setAttribute('aria-current', 'true')
    else if (url !== undefined && isReachable(url)) link.href = `${url}/inspect`
    return link
  })
  if (bridge) {
    const link = document.createElement('a')
    link.textContent = 'Stately'
    link.href = '/inspect/stately'
    links.push(link)
  }
  // Alone, there is nowhere to go.
  if (items.length > 1 || bridge) element.replaceChildren(...links)
  else element.hidden = true
}

/** A node that listens on the loopback address of its host is there for those on that host. */
function isReachable(url: string): boolean {
  const isLocal = (host: string) => /^(localhost|127\.|\[::1\])/.test(host)
  return !isLocal(new URL(url).hostname) || isLocal(location.hostname)
}
