/**
 * Who may speak to the node, and whether to change anything: requests to a foreign name (a page
 * that rebinds its own to this address) and from a foreign page are refused, and where there are
 * tokens one is asked for.
 */
import { hostname, networkInterfaces } from 'node:os'
import { type AccessRole, admit } from './access.ts'
import { problem } from './problem.ts'
import type { AddressRate } from './rate.ts'
import { matchToken, type Sessions, sessionOf } from './sessions.ts'
import type { Token } from './token.ts'

export interface GuardOptions {
  /** The address that is listened on. */
  host: string
  /** Without any, everybody who gets here may write. */
  tokens?: readonly Token[]
  sessions?: Sessions
  /** Of guesses that were wrong. */
  guesses?: AddressRate
}

/** Open without a token: that a node lives and is ready says nothing of its work. */
const openPaths = new Set(['/healthz', '/readyz', '/login', '/logout'])
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS'])

/** A refusal, or undefined when the request may pass; what its sender may do is noted with it. */
export type Check = (request: Request, address?: string) => Response | undefined

export function guard(options: GuardOptions): Check {
  const names = namesOf(options.host)
  const { tokens = [] } = options
  return (request, address = '') => {
    const foreign = refuseForeign(request, names)
    if (foreign !== undefined) return foreign
    if (tokens.length === 0) {
      admit(request, { role: 'write' })
      return undefined
    }
    if (openPaths.has(new URL(request.url).pathname)) return undefined
    const found = identify(request, options, tokens, address)
    if (found instanceof Response) return found
    admit(request, { role: found.role, token: found.text })
    return refuseWriting(request, found.role)
  }
}

function identify(
  request: Request,
  { sessions, guesses }: GuardOptions,
  tokens: readonly Token[],
  address: string,
): Token | Response {
  const given = /^Bearer (.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  if (given !== undefined) {
    const waitSeconds = guesses?.take(address) ?? 0
    if (waitSeconds > 0) return tooManyGuesses(waitSeconds)
    const token = matchToken(tokens, given)
    if (token !== undefined) guesses?.giveBack(address)
    return token ?? refuse('the token is not one of this node')
  }
  const session = sessionOf(request)
  const token = session === undefined ? undefined : sessions?.find(session)
  if (token !== undefined) return isFromOwnPage(request) ? token : refuseForgery()
  if (wantsPage(request)) {
    const { pathname, search } = new URL(request.url)
    const location = `/login?next=${encodeURIComponent(pathname + search)}`
    return new Response(null, { status: 303, headers: { location } })
  }
  return refuse('this node wants a token: give it with --token-file or as Authorization: Bearer')
}

function refuse(detail: string): Response {
  return problem(401, 'TOKEN', detail, { 'www-authenticate': 'Bearer realm="muster"' })
}

export function tooManyGuesses(seconds: number): Response {
  const detail = `too many wrong tokens from this address; try again in ${seconds} s`
  return problem(429, 'TOKEN_GUESSES', detail, { 'retry-after': String(seconds) })
}

function refuseWriting(request: Request, role: AccessRole): Response | undefined {
  if (role === 'write' || safeMethods.has(request.method)) return undefined
  const detail = `this token may read; ${request.method} wants one that may write`
  return problem(403, 'READ_ONLY', detail)
}

function refuseForgery(): Response {
  const detail = 'expected a request of a page of this node, got one that does not say where from'
  return problem(403, 'FOREIGN_ORIGIN', detail)
}

/** A cookie comes along by itself: what changes something must have been sent by our own pages. */
function isFromOwnPage(request: Request): boolean {
  if (safeMethods.has(request.method)) return true
  const { headers } = request
  // An Origin that is there is ours, or the request would not have come here.
  return headers.has('origin') || headers.get('sec-fetch-site') === 'same-origin'
}

function wantsPage({ method, headers }: Request): boolean {
  return method === 'GET' && headers.get('accept')?.includes('text/html') === true
}

function refuseForeign(request: Request, names: ReadonlySet<string>): Response | undefined {
  const { headers } = request
  const host = headers.get('host') ?? ''
  if (!names.has(nameOf(host))) {
    return problem(403, 'FOREIGN_HOST', `expected a name of this node as Host, got "${host}"`)
  }
  const origin = headers.get('origin')
  if (origin !== null && (!URL.canParse(origin) || new URL(origin).host !== host)) {
    const detail = `expected no Origin or that of this node, got "${origin}"`
    return problem(403, 'FOREIGN_ORIGIN', detail)
  }
  const site = headers.get('sec-fetch-site')
  if ((site === 'cross-site' || site === 'same-site') && !isLinkFollowed(request)) {
    const detail = `expected a request of a page of this node, got one of another (${site})`
    return problem(403, 'FOREIGN_ORIGIN', detail)
  }
  return undefined
}

/** Somebody clicked on a link to a page of ours. */
function isLinkFollowed({ method, headers }: Request): boolean {
  const isNavigation = headers.get('sec-fetch-mode') === 'navigate'
  return method === 'GET' && isNavigation && headers.get('sec-fetch-dest') === 'document'
}

function namesOf(host: string): ReadonlySet<string> {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  const names = ['localhost', '127.0.0.1', '[::1]', bracket(host), hostname()]
  names.push(...addresses.map(({ address }) => bracket(address)))
  return new Set(names.map((name) => name.toLowerCase()))
}

function bracket(address: string): string {
  return address.includes(':') && !address.startsWith('[') ? `[${address}]` : address
}

/** A Host header without its port. */
function nameOf(host: string): string {
  return host.replace(/:\d+$/, '').toLowerCase()
}
