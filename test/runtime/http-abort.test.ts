/** Requests that are given up while they wait for a connection. */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { connect, type Socket } from 'node:net'
import type { ExecuteContext } from '../../actors/ports.ts'
import { ConnectionPool } from '../../runtime/execute/http/connection.ts'
import { giveUp, type Progress } from '../../runtime/execute/http/progress.ts'
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

test('what is given up between its connection and its request is not sent', async () => {
  let heard = 0
  const target = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch() {
      heard += 1
      return new Response()
    },
  })
  const pool = new ConnectionPool({
    lookup: async () => [{ address: '127.0.0.1' }],
    isAllowed: true,
  })
  pool.start()
  /** Gives it up so many turns of the queue of promises after the connection is there. */
  const phaseWhenGivenUp = async (turns: number) => {
    let phase: Progress['phase'] | undefined
    const progress: Progress = {
      phase: 'resolve',
      timings: {
        resolveMs: 0,
        tlsMs: 0,
        processingMs: 0,
        transferMs: 0,
        get connectMs() {
          return 0
        },
        set connectMs(_) {
          const after = (left: number) => {
            if (left > 0) queueMicrotask(() => after(left - 1))
            else {
              phase = progress.phase
              giveUp(progress, new Error('given up'))
            }
          }
          queueMicrotask(() => after(turns))
        },
      },
    }
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: ${target.url.host}\r\n\r\n`)
    const asked = { method: 'POST', maxBytes: 1000 }
    const ended = pool.exchange(target.url, bytes, asked, progress)
    expect(await ended.catch(String)).toBe('Error: given up')
    return phase
  }
  const phases: (string | undefined)[] = []
  for (let turns = 0; turns < 16; turns += 1) phases.push(await phaseWhenGivenUp(turns))
  pool.stop()
  await target.stop(true)
  const early = phases.filter((phase) => phase === 'connect')
  expect([early.length > 0, phases.length - early.length > 0]).toEqual([true, true])
  expect(heard).toBeLessThanOrEqual(phases.length - early.length)
})

test('nothing is begun for what was given up beforehand', async () => {
  const pool = new ConnectionPool({
    lookup: async () => [{ address: '127.0.0.1' }],
    isAllowed: true,
  })
  const timings = { resolveMs: 0, connectMs: 0, tlsMs: 0, processingMs: 0, transferMs: 0 }
  const progress: Progress = { phase: 'resolve', timings }
  giveUp(progress, new Error('given up'))
  // To whom nobody answers: it would wait for as long as the system does.
  const url = new URL(`http://127.0.0.1:${port}/`)
  const asked = { method: 'POST', maxBytes: 1000 }
  const ended = pool.exchange(url, Buffer.alloc(0), asked, progress)
  expect(await ended.catch(String)).toBe('Error: given up')
  expect(progress.phase).toBe('resolve')
})
