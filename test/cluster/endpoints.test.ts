/** Hosts that are probed, by the real program: one node probes, every node tells. */
import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect, type EndpointLine } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { shortTerms } from '../kit/fleet.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { startRedis } from '../kit/redis.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Lease {
  name: string
  holder: string
}

const items = async <Item>(url: string): Promise<Item[]> =>
  ((await (await fetch(url)).json()) as { items: Item[] }).items
const statesOf = async ({ url }: { url: string }): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await items<EndpointLine>(`${url}/v1/endpoints`)).map(({ name, state }) => [name, state]),
  )

/** Two nodes that know of hosts with a probe, each answered with a status of this moment. */
async function fleetWith(answers: ReadonlyMap<string, number>) {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch(request) {
      const name = new URL(request.url).pathname.slice(1)
      return new Response('', { status: answers.get(name) ?? 404 })
    },
  })
  cleanups.push(() => server.stop(true))
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const dataDir = temporaryDirectory()
  const hosts = [...answers.keys()].map(
    (name) => `[hosts.${name}]\nprobe = "${server.url.href}${name}"\n`,
  )
  writeFileSync(join(dataDir, 'muster.toml'), hosts.join(''))
  const env = { ...shortTerms, MUSTER_REDIS_URL: redis.url, MUSTER_MEMBER_PROBE_MS: '200' }
  const words = ['--config', join(dataDir, 'muster.toml')]
  const start = async (id: string): Promise<MusterProcess & { url: string }> => {
    const node = await startMusterNode({ dataDir, env: { ...env, MUSTER_NODE_ID: id }, words })
    cleanups.push(() => node.kill('SIGTERM'))
    return node
  }
  return { dataDir, first: await start('first'), second: await start('second') }
}

describe('hosts with a probe', () => {
  test('are found offline and back on every node, also when who probes is killed', async () => {
    const answers = new Map([
      ['web001', 200],
      ['web002', 200],
    ])
    const { dataDir, first, second } = await fleetWith(answers)
    const both = { web001: 'online', web002: 'online' }
    await eventually(async () => expect(await statesOf(second)).toEqual(both), {
      timeoutMs: 15_000,
    })
    answers.set('web002', 503)
    const oneDown = { web001: 'online', web002: 'offline' }
    await eventually(async () => expect(await statesOf(first)).toEqual(oneDown), {
      timeoutMs: 10_000,
    })

    const listed = await muster(['nodes', '--endpoints', '--json', '--url', second.url], {
      dataDir,
    })
    const lines = listed.out.trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line) as EndpointLine)).toMatchObject([
      { name: 'web001', state: 'online', isUsable: true },
      {
        name: 'web002',
        state: 'offline',
        isUsable: false,
        lastError: 'HTTP_STATUS: expected status 200 to 299, got 503',
      },
    ])
    const shown = await muster(['nodes', '--endpoints', '--url', second.url], { dataDir })
    expect(shown.out).toMatch(/^web002 +offline +/m)

    const holder = async () =>
      (await items<Lease>(`${second.url}/v1/leases`)).find(({ name }) => name === 'prober')?.holder
    expect(await holder()).toBe('first')
    await first.kill('SIGKILL')
    answers.set('web002', 200)
    await eventually(async () => expect(await statesOf(second)).toEqual(both), {
      timeoutMs: 15_000,
    })
    expect(await holder()).toBe('second')
  })
  test('of the name of a node keep balanced work away from it while they are offline', async () => {
    const answers = new Map([['first', 503]])
    const { first, second } = await fleetWith(answers)
    const client = await connect({ url: second.url })
    await eventually(async () => expect(await statesOf(second)).toEqual({ first: 'offline' }), {
      timeoutMs: 15_000,
    })
    const nodesOf = async () => {
      const tasks = Array.from({ length: 20 }, () => {
        return { kind: 'noop', placement: 'balanced' as const }
      })
      const handle = await client.submit(tasks)
      await handle.done()
      const nodes = new Set<string>()
      for await (const { node } of client.results(handle.id)) nodes.add(node)
      return { nodes, routing: (await client.task(handle.id, 0)).routing }
    }
    // The node is well, and what is known of its host is a second old at most.
    await eventually(
      async () => {
        const { nodes, routing } = await nodesOf()
        expect([...nodes]).toEqual(['second'])
        expect(routing?.excluded).toEqual({ offline: 1 })
      },
      { timeoutMs: 15_000, intervalMs: 200 },
    )
    const alive = (await client.nodes()).find(({ id }) => id === 'first')
    expect(alive?.state).toBe('alive')
    expect(first.url).not.toBe(second.url)
    answers.set('first', 200)
    await eventually(async () => expect((await nodesOf()).nodes).toContain('first'), {
      timeoutMs: 15_000,
      intervalMs: 200,
    })
  })
})
