import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createWebSocketReceiver, type StatelyInspectionEvent } from '@statelyai/inspect'
import { createMachine } from 'xstate'
import type { TreeNode } from '../../actors/tree.ts'
import { eventually } from '../kit/eventually.ts'
import { problemOf, type StartedNode, sleepLine, startNode } from '../runtime/started-node.ts'

let node: StartedNode
beforeAll(async () => {
  node = await startNode({ ephemeral: true })
})
afterAll(() => node.node.stop())

const wsUrl = () => `${node.url.replace('http', 'ws')}/inspect/ws`

interface Known {
  name: string
  parentId: string | undefined
  state: string
}

/** What an inspector knows of the actors that it was told of and not told to be gone. */
class Inspector {
  readonly actors = new Map<string, Known>()
  readonly definitions: string[] = []
  readonly events: StatelyInspectionEvent[] = []

  constructor() {
    createWebSocketReceiver({ server: wsUrl() }).subscribe((event) => this.#hear(event))
  }

  #hear(event: StatelyInspectionEvent): void {
    if (event.type === '@xstate.event') {
      this.events.push(event)
      return
    }
    const { sessionId, snapshot } = event
    const { status } = snapshot
    const state = 'value' in snapshot ? wordsOf(snapshot.value) : status
    const known = this.actors.get(sessionId)
    if (event.type === '@xstate.actor') {
      const { name, parentId, definition } = event
      this.actors.set(sessionId, { name: name ?? '', parentId, state: state ?? '' })
      if (definition !== undefined) this.definitions.push(definition)
    } else if (known === undefined) {
      throw new Error(`${sessionId} changed, and nobody has told of it`)
    } else known.state = state ?? ''
    if (status !== 'active') this.actors.delete(sessionId)
  }

  /** State by path, as the tree has them. */
  states(): Map<string, string> {
    const pathOf = (sessionId: string): string => {
      const { name, parentId } = this.actors.get(sessionId) ?? { name: '?', parentId: undefined }
      if (parentId === undefined) return `/${node.node.id}`
      return `${pathOf(parentId)}/${name.replace(/:\d+$/, '')}`
    }
    return new Map([...this.actors].map(([sessionId, { state }]) => [pathOf(sessionId), state]))
  }
}

function wordsOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .map(([region, inner]) => `${region}.${wordsOf(inner)}`)
    .join(',')
}

/** What the tree says that the inspector does not, once both have come to rest. */
async function mismatches(inspector: Inspector): Promise<string[]> {
  const tree = (await (await node.ask('/v1/tree')).json()) as TreeNode
  const states = inspector.states()
  const differ = ({ path, state, children }: TreeNode): string[] => [
    ...(states.get(path) === state ? [] : [`${path}: ${state}, told ${states.get(path)}`]),
    ...children.flatMap(differ),
  ]
  return differ(tree)
}

describe('a receiver of Stately', () => {
  test('sees every actor in the state that it is in, before, during and after work', async () => {
    const early = new Inspector()
    await eventually(async () => expect(await mismatches(early)).toEqual([]))
    const before = early.actors.size
    const run = node.run(sleepLine(300).repeat(20))
    await eventually(() => {
      expect([...early.states().values()]).toContain('receiving.busy')
    })
    const late = new Inspector()
    await eventually(async () => expect(await mismatches(late)).toEqual([]))
    await run
    await eventually(async () => {
      expect([...(await mismatches(early)), ...(await mismatches(late))]).toEqual([])
    })
    expect(before).toBeGreaterThan(15)
    expect(early.events.length).toBeGreaterThan(0)
  })

  test('can build every machine from its definition', async () => {
    const inspector = new Inspector()
    await eventually(() => expect(inspector.definitions.length).toBeGreaterThan(15))
    for (const definition of inspector.definitions) {
      const config = JSON.parse(definition) as { id: string }
      expect(createMachine(config).id).toBe(config.id)
    }
  })
})

describe('the WebSocket', () => {
  const handshake = (headers: Record<string, string>) =>
    node.ask('/inspect/ws', {
      headers: {
        upgrade: 'websocket',
        connection: 'Upgrade',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        ...headers,
      },
    })

  test('is not opened for a page of another origin', async () => {
    const response = await handshake({ origin: 'http://evil.example' })
    expect(response.status).toBe(403)
  })

  test('says what it is to those who just ask', async () => {
    const response = await node.ask('/inspect/ws')
    expect(await problemOf(response)).toMatchObject({ status: 426, code: 'WEBSOCKET' })
  })
})

describe('the page of the statecharts', () => {
  test('comes from this origin alone, with all that it needs', async () => {
    const page = await node.ask('/inspect')
    const policy = page.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toContain('unsafe-inline')
    const html = await page.text()
    expect(html).not.toMatch(/<script(?![^>]*\bsrc="\/)/)
    expect(html).not.toMatch(/https?:/)
    const script = await node.ask('/inspect/page.js')
    expect([script.status, (await script.text()).length < 50_000]).toEqual([200, true])
    const chart = await node.ask('/inspect/charts/worker.svg')
    expect(chart.headers.get('content-type')).toBe('image/svg+xml')
  })

  test.each(['charts/none.svg', 'charts/..%2froutes.ts', 'charts/worker.ts'])(
    'has nothing at %s',
    async (path) => {
      expect((await node.ask(`/inspect/${path}`)).status).toBe(404)
    },
  )

  test('hands nothing to Stately unless it is told so', async () => {
    const refused = await node.ask('/inspect/stately')
    expect(await problemOf(refused)).toMatchObject({ status: 404, code: 'NO_BRIDGE' })
    const open = await startNode({
      ephemeral: true,
      http: { port: 0, statelyBridge: 'on' },
      node: { id: 'open' },
    })
    try {
      const page = await open.ask('/inspect/stately')
      expect(page.status).toBe(200)
      const policy = page.headers.get('content-security-policy')
      expect(policy).toContain('frame-src https://stately.ai')
      expect((await open.ask('/inspect/stately/page.js')).status).toBe(200)
    } finally {
      await open.node.stop()
    }
  })
})
