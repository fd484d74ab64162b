/** Connections of kind `http`, kept for the next request. */
import { afterEach, expect, test } from 'bun:test'
import { createServer, type Socket } from 'node:net'
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

/** Somebody who answers the first words of each question, and reads no more of it. */
async function hasty(answer: (socket: Socket, method: string) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const listening = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', (piece) => {
      socket.pause()
      answer(socket, piece.toString('latin1').split(' ', 1)[0] ?? '')
    })
  })
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    listening.close()
  })
  const address = listening.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`
}

async function asking() {
  const executor = httpExecutor({ timeoutMs: 5000, bytesMax: 1000, linkLocal: 'refuse' })
  await executor.start()
  closers.push(() => executor.stop())
  return async (input: Record<string, unknown>) => {
    const { outcome, output } = await executor.run({ input }, contextOf())
    const { status, body } = output as { status: number; body: string }
    return [outcome, status, body]
  }
}

/** More than the system takes from us before the other side reads it. */
const body = 'x'.repeat(16 * 1024 * 1024)

test('one that was answered before it was asked to the end is not kept', async () => {
  const seen: string[] = []
  const url = await hasty((socket, method) => {
    seen.push(method)
    const status = method === 'PUT' ? '413 Too Large' : '200 OK'
    socket.write(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\n\r\n`)
  })
  const ask = await asking()
  expect(await ask({ url, method: 'PUT', body })).toEqual(['failed', 413, ''])
  expect(await ask({ url })).toEqual(['ok', 200, ''])
  expect(seen).toEqual(['PUT', 'GET'])
})

test('an answer is heard to its end though the question was not', async () => {
  const url = await hasty((socket) =>
    socket.end('HTTP/1.1 413 Too Large\r\nconnection: close\r\n\r\nno'),
  )
  const ask = await asking()
  expect(await ask({ url, method: 'PUT', body })).toEqual(['failed', 413, 'no'])
})
