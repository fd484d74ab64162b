/** Many requests of one run: side by side up to the cap, and never one after the other. */
import { afterAll, expect, test } from 'bun:test'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn, muster } from '../kit/muster.ts'

const dataDir = temporaryDirectory()
afterAll(() => endProcessesIn(dataDir))

const total = 3000
const cap = 200

test('thousands of requests run side by side, as many at a time as they may', async () => {
  let now = 0
  let most = 0
  const connections = new Set<number | undefined>()
  const full = Promise.withResolvers<void>()
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request, self) {
      connections.add(self.requestIP(request)?.port)
      now += 1
      most = Math.max(most, now)
      // Nobody is answered before as many have come as may be under way.
      if (now === cap) full.resolve()
      await full.promise
      now -= 1
      return new Response('ok')
    },
  })
  const task = { kind: 'http', input: { url: `http://127.0.0.1:${server.port}/` }, attempts: 1 }
  const stdin = `${JSON.stringify(task)}\n`.repeat(total)
  const env = { MUSTER_WORKER_HTTP_CONCURRENCY: String(cap) }
  const words = ['run', '-', '--json', '--timeout', '100s']
  const { code, out } = await muster(words, { dataDir, env, stdin })
  await server.stop(true)
  expect([code, (JSON.parse(out) as Run).counts.ok]).toEqual([0, total])
  expect(most).toBe(cap)
  // Kept alive: far fewer connections than requests.
  expect(connections.size).toBeLessThan(total / 3)
}, 120_000)
