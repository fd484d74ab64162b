/** Connections of kind `http`, kept for the next request. */
import { afterEach, expect, test } from 'bun:test'
import { httpExecutor } from '../../runtime/execute/http/request.ts'
import { contextOf } from './command-runner.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

/** A server that answers when so many ask at the same time, and counts who connects. */
function server(together: number) {
  const connections = new Set<number | undefined>()
  let waiting: (() => void)[] = []
  const listening = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request, self) {
      connections.add(self.requestIP(request)?.port)
      const turn = Promise.withResolvers<void>()
      waiting.push(turn.resolve)
      if (waiting.length === together) {
        for (const resolve of waiting) resolve()
        waiting = []
      }
      await turn.promise
      return new Response('ok')
    },
  })
  closers.push(() => listening.stop(true))
  return { url: `http://127.0.0.1:${listening.port}/`, connections }
}

async function executorWith(idleMax?: number) {
  const options = { timeoutMs: 10_000, bytesMax: 1000, linkLocal: 'refuse' } as const
  const executor = httpExecutor({ ...options, ...(idleMax !== undefined && { idleMax }) })
  await executor.start()
  closers.push(() => executor.stop())
  const ask = async (url: string) => {
    const { outcome } = await executor.run({ input: { url } }, contextOf())
    expect(outcome).toBe('ok')
  }
  return async (urls: readonly string[]) => {
    await Promise.all(urls.map(ask))
  }
}

test('as many are kept as requests were under way: the next lot needs no others', async () => {
  const { url, connections } = server(200)
  const ask = await executorWith()
  const lot = Array.from({ length: 200 }, () => url)
  for (let lots = 0; lots < 3; lots += 1) await ask(lot)
  expect(connections.size).toBe(200)
})

test('no more than its bound are kept over all hosts, and rather those of late', async () => {
  const [old, late] = [server(1), server(1)]
  const ask = await executorWith(1)
  await ask([old.url])
  // Takes the place of the first one's.
  await ask([late.url])
  await ask([late.url])
  await ask([old.url])
  expect([old.connections.size, late.connections.size]).toEqual([2, 1])
  // Nothing was gained by counting wrong: again one is kept.
  await ask([old.url])
  expect(old.connections.size).toBe(2)
})
