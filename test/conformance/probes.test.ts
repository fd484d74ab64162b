import { afterAll, expect, test } from 'bun:test'
import { httpProbes } from '../../runtime/execute/http/probes.ts'
import { memoryProbes, type ProbeAnswer } from '../../runtime/memory/probes.ts'
import { probesConformance } from './probes.ts'

const names = { well: 'memory:well', sick: 'memory:sick', silent: 'memory:silent' }
const answers = new Map(
  Object.entries(names).map(([answer, url]) => [url, answer as ProbeAnswer] as const),
)
probesConformance('memory', {
  probes: async () => memoryProbes(answers),
  urls: { ...names, nobody: 'memory:nobody' },
})

const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  idleTimeout: 0,
  fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/moved') return Response.redirect('/well')
    if (pathname === '/silent') return new Promise<Response>(() => undefined)
    return new Response('', { status: pathname === '/well' ? 204 : 503 })
  },
})
const gone = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: () => new Response('') })
const nobody = gone.url.href
await gone.stop(true)
afterAll(() => server.stop(true))

const at = (path: string) => new URL(path, server.url).href
const overHttp = () => httpProbes({ linkLocal: 'refuse', caFile: undefined })
probesConformance('HTTP', {
  probes: overHttp,
  urls: { well: at('/well'), sick: at('/sick'), silent: at('/silent'), nobody },
})

test('a redirect is no answer of somebody who is well', async () => {
  const probes = await overHttp()
  const { signal } = new AbortController()
  const moved = await probes.probe({ name: 'moved', url: at('/moved') }, signal).then(
    () => 'ok',
    (error: unknown) => String(error),
  )
  expect(moved).toContain('expected status 200 to 299, got 302')
  await probes.close()
})
