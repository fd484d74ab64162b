/** The node's public routes, as the page asks them. */

/** What the node answered instead, in its own words. */
export class Refusal extends Error {
  readonly status: number
  readonly code: string
  constructor(status: number, code: string, detail: string) {
    super(detail)
    this.status = status
    this.code = code
  }
}

export function get<T>(path: string, signal: AbortSignal): Promise<T> {
  return ask<T>(path, { signal, headers: { accept: 'application/json' } })
}

export function post<T>(path: string, body: object): Promise<T> {
  const headers = { accept: 'application/json', 'content-type': 'application/json' }
  return ask<T>(path, { method: 'POST', headers, body: JSON.stringify(body) })
}

async function ask<T>(path: string, init: RequestInit): Promise<T> {
  let response: Response
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init })
  } catch (error) {
    if (init.signal?.aborted === true) throw error
    throw new Refusal(0, 'NO_ANSWER', 'the node does not answer; try again when it is back')
  }
  if (response.ok) return (await response.json()) as T
  if (response.status === 401) logIn()
  throw await refusalOf(response)
}

async function refusalOf(response: Response): Promise<Refusal> {
  const text = await response.text()
  try {
    const { detail, code } = JSON.parse(text) as { detail?: string; code?: string }
    return new Refusal(response.status, code ?? '', detail ?? text)
  } catch {
    return new Refusal(response.status, '', `the node answered ${response.status}: ${text}`)
  }
}

/** The session is over: the form leads back here. */
export function logIn(): void {
  const back = `${location.pathname}${location.hash}`
  location.assign(`/login?next=${encodeURIComponent(back)}`)
}
