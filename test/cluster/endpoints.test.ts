/** Hosts that are probed, by the real program: one node probes, every node tells. */
import { afterEach, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EndpointLine } from '../../runtime/index.ts'
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

describe('hosts with a probe', () => {
  test('are found offline and back on every node, also when who probes is killed', async () => {
    const answers = new Map([
      ['web001', 200],
      ['web002', 200],
    ])
    const asked: string[] = []
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch(request) {
        const name = new URL(request.url).pathname.slice(1)
        asked.push(name)
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
    const [first, second] = [await start('first'), await start('second')]
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
  }, 60_000)
})
