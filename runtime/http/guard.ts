/**
 * Who may speak to the node: requests to a foreign name (a page that rebinds its own to this
 * address) and from a foreign origin are refused, and where there is a token it is asked for.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { hostname, networkInterfaces } from 'node:os'
import { problem } from './problem.ts'

export interface GuardOptions {
  /** The address that is listened on. */
  host: string
  token?: string
}

/** Open without a token: that a node lives and is ready says nothing of its work. */
const openPaths = new Set(['/healthz', '/readyz'])

/** A refusal, or undefined when the request may pass. */
export function guard(options: GuardOptions): (request: Request) => Response | undefined {
  const names = new Set(
    ['localhost', '127.0.0.1', '[::1]', bracket(options.host), hostname()]
      .concat(
        Object.values(networkInterfaces()).flatMap((addresses) =>
          (addresses ?? []).map(({ address }) => bracket(address)),
        ),
      )
      .map((name) => name.toLowerCase()),
  )
  const expected = options.token === undefined ? undefined : digest(options.token)

  return (request) => {
    const host = request.headers.get('host') ?? ''
    if (!names.has(nameOf(host))) {
      return problem(403, 'FOREIGN_HOST', `expected a name of this node as Host, got "${host}"`)
    }
    const origin = request.headers.get('origin')
    if (origin !== null && (!URL.canParse(origin) || new URL(origin).host !== host)) {
      return problem(
        403,
        'FOREIGN_ORIGIN',
        `expected no Origin or that of this node, got "${origin}"`,
      )
    }
    if (expected === undefined || openPaths.has(new URL(request.url).pathname)) return undefined
    const given = /^Bearer (.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]
    if (given !== undefined && timingSafeEqual(digest(given), expected)) return undefined
    const detail =
      given === undefined
        ? 'this node wants a token: give it with --token-file or as Authorization: Bearer'
        : 'the token is not the one of this node'
    return problem(401, 'TOKEN', detail, { 'www-authenticate': 'Bearer realm="muster"' })
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function bracket(address: string): string {
  return address.includes(':') && !address.startsWith('[') ? `[${address}]` : address
}

/** A Host header without its port. */
function nameOf(host: string): string {
  return host.replace(/:\d+$/, '').toLowerCase()
}
