/** Each phase of a request may have a limit of its own, within that of the attempt. */
import { afterEach, describe, expect, test } from 'bun:test'
import { createServer, type Socket } from 'node:net'
import type { HttpInput } from '../../actors/http-input.ts'
import {
  enter,
  type Phase,
  type PhaseLimits,
  PhaseWatch,
  type Progress,
} from '../../runtime/execute/http/progress.ts'
import { type HttpOptions, httpExecutor } from '../../runtime/execute/http/request.ts'
import { eventually } from '../kit/eventually.ts'
import { contextOf } from './command-runner.ts'

const closers: (() => unknown)[] = []
afterEach(() => {
  for (const close of closers.splice(0)) close()
})

/** Somebody who says so much when he is connected to, and then nothing more. */
async function saying(words: string, protocol = 'http'): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.write(words)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  return `${protocol}://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`
}

async function ask(input: HttpInput, options: Partial<HttpOptions>) {
  const defaults = { timeoutMs: 30_000, bytesMax: 2 ** 20, linkLocal: 'refuse' as const }
  const executor = httpExecutor({ ...defaults, ...options })
  await executor.start()
  const began = performance.now()
  try {
    const { outcome, stage, error } = await executor.run({ input }, contextOf())
    return { said: [outcome, stage, error?.code, error?.message], ms: performance.now() - began }
  } finally {
    await executor.stop()
  }
}

describe('a request', () => {
  const limited = async (phase: Phase, url: string, more: Partial<HttpOptions> = {}) => {
    const { said, ms } = await ask({ url }, { phaseMs: { [phase]: 200 }, ...more })
    const message = `${phase} took longer than 200 ms`
    expect(said).toEqual(['timeout', 'run', 'TIMEOUT', message])
    expect(ms).toBeGreaterThan(190)
    expect(ms).toBeLessThan(10_000)
  }

  test('whose name nobody resolves does not wait for all of its time', async () => {
    const lookup = () => new Promise<never>(() => undefined)
    await limited('resolve', 'http://silent.test/', { lookup })
  })

  test('whose connection is not encrypted in time is ended', async () => {
    await limited('tls', await saying('', 'https'))
  })

  test('that nobody answers in time is ended', async () => {
    await limited('processing', await saying(''))
  })

  test('whose answer does not end in time is ended', async () => {
    await limited('transfer', await saying('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf'))
  })

  test('has all its time where no limit is set, and no phase more than the attempt', async () => {
    const url = await saying('')
    for (const phaseMs of [{ processing: 0, connect: 200 }, { processing: 20_000 }]) {
      const { said } = await ask({ url }, { phaseMs, timeoutMs: 300 })
      expect(said).toEqual([
        'timeout',
        'run',
        'TIMEOUT',
        'did not end within 300 ms; it was at: processing',
      ])
    }
  })

  test('of a phase in time is none the worse for the limits', async () => {
    const url = await saying('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    const phaseMs = { resolve: 5000, connect: 5000, tls: 5000, processing: 5000, transfer: 5000 }
    expect((await ask({ url }, { phaseMs })).said[0]).toBe('ok')
  })
})

describe('a limit', () => {
  const begin = (limits: PhaseLimits, phase: Phase) => {
    const reasons: string[] = []
    const timings = { resolveMs: 0, connectMs: 0, tlsMs: 0, processingMs: 0, transferMs: 0 }
    const abort = ({ message }: Error) => void reasons.push(message)
    const progress: Progress = { timings, phase: 'resolve', abort }
    const running = new Set([progress])
    const watch = new PhaseWatch(limits, running)
    closers.push(() => watch.stop())
    enter(progress, phase)
    watch.wake()
    return { progress, running, reasons }
  }

  test('ends what is waited for, not the request: a host may have another address', async () => {
    const { progress, reasons } = begin({ connect: 50 }, 'connect')
    await eventually(() => expect(reasons[0]).toBe('connect took longer than 50 ms'))
    expect(progress.ended).toBeUndefined()
  })

  test('counts from when its phase began, and is for that phase alone', async () => {
    const other = begin({ connect: 50 }, 'tls')
    const { progress, reasons } = begin({ connect: 50, tls: 60_000 }, 'connect')
    enter(progress, 'tls')
    const witness = begin({ connect: 100 }, 'connect')
    await eventually(() => expect(witness.reasons).not.toEqual([]))
    expect([reasons, other.reasons]).toEqual([[], []])
  })
})
