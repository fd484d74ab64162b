/** Requests into a network that swallows what is sent to it: what a connection itself meets. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { type Network, namespaceProblem, startNetwork } from '../kit/namespaces.ts'

const problem = await namespaceProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

describe.skipIf(problem !== undefined)('a host that swallows all that is sent to it', () => {
  let network: Network
  beforeAll(async () => {
    network = await startNetwork(['a'])
    await network.cut('a')
  })
  afterAll(() => network.remove())

  /** From host `a`, where a server of its own answers. */
  const ask = async (port: number, addresses: readonly string[]) => {
    const script = join(import.meta.dir, 'asker.ts')
    const words = ['--conditions=development', script, `http://two.test:${port}/`, ...addresses]
    const child = Bun.spawn([...network.host('a').under, process.execPath, ...words])
    return JSON.parse(await child.stdout.text()) as {
      outcome: string
      error?: { code: string; message: string }
      output?: { status: number; address?: string }
      /** Sockets that it still has. */
      kept: number
    }
  }

  test('is given up when the time to connect is over', async () => {
    const { outcome, error, kept } = await ask(80, [network.hub.address])
    expect([outcome, error?.code]).toEqual(['timeout', 'TIMEOUT'])
    expect(error?.message).toBe('connect took longer than 300 ms')
    expect(kept).toBe(0)
  })

  test('does not keep a request from another address of the same name', async () => {
    const { address } = network.host('a')
    const says = 'Bun.serve({ hostname: Bun.argv[1], port: 8080, fetch: () => new Response() })'
    const words = [process.execPath, '-e', `${says}; console.log(1)`, address]
    const server = Bun.spawn([...network.host('a').under, ...words])
    try {
      await server.stdout.getReader().read()
      const { outcome, output } = await ask(8080, [network.hub.address, address])
      expect([outcome, output?.status]).toEqual(['ok', 200])
    } finally {
      server.kill()
      await server.exited
    }
  })
})
