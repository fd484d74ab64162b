/** What the sender of a request may do, as the guard has found. */

/** `read` may look at everything and change nothing. */
export type AccessRole = 'read' | 'write'

export interface Pass {
  role: AccessRole
  /** The token that was given, or that a session was opened with. */
  token?: string
}

const passes = new WeakMap<Request, Pass>()

/** Let a request in. */
export function admit(request: Request, pass: Pass): void {
  passes.set(request, pass)
}

/**
 * What the sender of a request may do; `read` where nobody has checked. Works on a request and on
 * a context of Hono.
 */
export function roleOf(from: Request | { req: { raw: Request } }): AccessRole {
  const request = from instanceof Request ? from : from.req.raw
  return passes.get(request)?.role ?? 'read'
}

/** Whoever holds the node in his process needs no leave. */
export function ownRequest(request: Request): Request {
  admit(request, { role: 'write' })
  return request
}

export function passOf(request: Request): Pass | undefined {
  return passes.get(request)
}

/** The token to ask another node with, in the name of whoever asked this one. */
export function tokenOf(request: Request): string | undefined {
  return passes.get(request)?.token
}
