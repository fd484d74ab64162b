/** Requests that are given up while they wait for a connection. */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { connect, type Socket } from 'node:net'
import type { ExecuteContext } from '../../actors/ports.ts'
import { httpExecutor } from '../../runtime/execute/http/request.ts'
import { eventually } from '../kit/eventually.ts'

/** A server that is stopped, with as many waiting for it as it may have: others hear nothing. */
const program = `
  const server = require('node:net').createServer()
  server.listen({ port: 0, host: '0.0.0.0', backlog: 1 }, () => console.log(server.address().port))
`
const server = Bun.spawn([process.execPath, '-e', program], { stdout: 'pipe' })
const waiting: Socket[] = []
let port = 0

/** Whether it is connected within a fifth of a second. */
async function isTaken(): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ port, host: '127.0.0.1' })
  waiting.push(socket)
  socket.on('connect', () => resolve(true))
  socket.on('error', () => resolve(false))
  const timer = setTimeout(() => resolve(false), 200)
  const taken = await promise
  clearTimeout(timer)
  return taken
}

beforeAll(async () => {
  const { value } = await server.stdout.getReader().read()
  port = Number(new TextDecoder().decode(value))
  server.kill('SIGSTOP')
  while (await isTaken());
})

afterAll(async () => {
  for (const socket of waiting) socket.destroy()
  server.kill('SIGKILL')
  await server.exited
})

async function begin() {
  const asked: string[] = []
  const executor = httpExecutor({
    timeoutMs: 10_000,
    bytesMax: 1000,
    linkLocal: 'refuse',
    lookup: async () => {
      const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.3'].map((address) => ({ address }))
      asked.push(...addresses.map(({ address }) => address))
      return addresses
    },
  })
  await executor.start()
  const given = new AbortController()
  const context: ExecuteContext = {
    run: 'r-1',
    seq: 0,
    kind: 'http',
    attempt: 1,
    signal: given.signal,
  }
  const run = (timeoutMs?: number) => {
    const task = { input: { url: `http://three.test:${port}/` } }
    return executor.run(timeoutMs === undefined ? task : { ...task, timeoutMs }, context)
  }
  return { executor, given, run, asked }
}

test('one that took too long tries no other address', async () => {
  const { executor, run } = await begin()
  const begun = performance.now()
  const { outcome, error, output } = await run(300)
  expect(performance.now() - begun).toBeLessThan(2000)
  expect(outcome).toBe('timeout')
  expect(error?.message).toContain('it was at: connect')
  expect(output).toMatchObject({ address: '127.0.0.1' })
  await executor.stop()
})

test('one that is not wanted any more tries no other address', async () => {
  const { executor, given, run, asked } = await begin()
  const running = run()
  await eventually(() => expect(asked).not.toEqual([]))
  given.abort()
  expect(await running).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
  await executor.stop()
})

test('those of an executor that stops try no other address', async () => {
  const { executor, run, asked } = await begin()
  const running = run()
  await eventually(() => expect(asked).not.toEqual([]))
  await executor.stop()
  expect(await running).toMatchObject({ outcome: 'failed', error: { code: 'ABORTED' } })
})
