/**
 * Where results are: with SQLite, in the data directory of the node that collects. Who collects
 * says so under its lease, and it stays said when that node is gone.
 */
import { describeError, UnavailableError } from '../actors/errors.ts'
import type { Fence, Leases, Members } from '../actors/ports-fleet.ts'
import { tokenOf } from './http/access.ts'

export interface Home {
  /** Id of the node. */
  node: string
  /** Where its process runs; processes of one place see the same files. */
  place: string
  dataDir: string
}

export interface ResultsHomeOptions {
  own: Home
  leases(): Pick<Leases, 'get'>
  members(): Pick<Members, 'list'>
  staleMs: number
}

const key = 'home'
/** A question is passed on once, whatever two nodes think of each other. */
const passedHeader = 'muster-passed-on'
const lease = 'collector'

export class ResultsHome {
  readonly #options: ResultsHomeOptions

  constructor(options: ResultsHomeOptions) {
    this.#options = options
  }

  /** Results are stored here from now on. */
  async announce(fence: Pick<Fence, 'put'>): Promise<void> {
    await fence.put(key, JSON.stringify(this.#options.own))
  }

  /**
   * The answer of the node that has the results; undefined when that is this one.
   * @throws UnavailableError when it cannot be reached
   */
  async answer(request: Request): Promise<Response | undefined> {
    if (request.headers.has(passedHeader)) return undefined
    const said = await this.#options.leases().get(lease, key)
    if (said === undefined) return undefined
    const home = JSON.parse(said) as Home
    const { own } = this.#options
    if (home.place === own.place && home.dataDir === own.dataDir) return undefined
    const records = await this.#options.members().list(this.#options.staleMs)
    const record = records.find(({ id, state }) => id === home.node && state !== 'dead')
    if (record?.url === undefined) {
      const what = record === undefined ? 'is away' : 'does not listen'
      throw new UnavailableError(
        `${whereOf(home)}, and that node ${what}; try again when it is back`,
      )
    }
    return pass(request, home, record.url)
  }
}

function whereOf({ node, dataDir, place }: Home): string {
  return `the results are with node ${node}, in ${dataDir} on ${place.split(':')[0]}`
}

async function pass(request: Request, home: Home, base: string): Promise<Response> {
  const { pathname, search } = new URL(request.url)
  const headers = new Headers(request.headers)
  for (const own of ['host', 'origin', 'connection', 'content-length', 'sec-fetch-site'])
    headers.delete(own)
  headers.set(passedHeader, '1')
  // A session of a browser is known here alone.
  const token = tokenOf(request)
  headers.delete('cookie')
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`)
  try {
    const answer = await fetch(new URL(`${pathname}${search}`, base), {
      method: request.method,
      headers,
      body: request.method === 'GET' || request.method === 'HEAD' ? null : await request.text(),
      redirect: 'manual',
      signal: request.signal,
    })
    // What was unpacked on the way is not packed any more.
    const passed = new Headers(answer.headers)
    for (const own of ['content-encoding', 'content-length']) passed.delete(own)
    return new Response(answer.body, { status: answer.status, headers: passed })
  } catch (error) {
    request.signal.throwIfAborted()
    const why = describeError(error).message
    throw new UnavailableError(`${whereOf(home)}, which cannot be reached at ${base}: ${why}`)
  }
}
