/** A client that speaks HTTP by hand, and as slowly as it likes. */
import { connect, type Socket } from 'node:net'

export interface RawClient {
  send(text: string | Uint8Array): void
  /** All that has come so far. */
  readonly text: string
  readonly isClosed: boolean
  /** Milliseconds from the connection to its end. */
  readonly closed: Promise<number>
  /** Nothing is taken off the connection for so long. */
  hang(ms: number): void
  close(): void
}

export async function rawClient(url: string): Promise<RawClient> {
  const { hostname, port } = new URL(url)
  const opened = Promise.withResolvers<void>()
  const closed = Promise.withResolvers<number>()
  const openedAt = performance.now()
  let text = ''
  let isClosed = false
  const socket: Socket = connect(Number(port), hostname, () => opened.resolve())
  socket.on('data', (data) => {
    text += data.toString('latin1')
  })
  // The other side is expected to end it; how it did so does not matter.
  socket.on('error', () => opened.resolve())
  socket.on('close', () => {
    isClosed = true
    closed.resolve(performance.now() - openedAt)
  })
  await opened.promise
  return {
    send: (data) => void socket.write(data),
    get text() {
      return text
    },
    get isClosed() {
      return isClosed
    },
    closed: closed.promise,
    hang(ms) {
      socket.pause()
      setTimeout(() => socket.resume(), ms)
    },
    close: () => void socket.destroy(),
  }
}
