/**
 * Hands the frames of this node to Stately's inspector in the frame, and to nobody else. Whenever
 * the inspector says that it is there, it gets a fresh socket, and so all actors there are.
 */
import { socketUrl } from './socket.ts'

const origin = 'https://stately.ai'
const againMsMax = 10_000

const frame = document.querySelector('iframe')
let life = new AbortController()
let againMs = 500

function connect(): void {
  life.abort()
  life = new AbortController()
  const { signal } = life
  const socket = new WebSocket(socketUrl(''))
  signal.addEventListener('abort', () => socket.close())
  const opened = () => {
    againMs = 500
  }
  const heard = ({ data }: MessageEvent<string>) => {
    frame?.contentWindow?.postMessage(JSON.parse(data), origin)
  }
  const closed = () => {
    againMs = Math.min(againMs * 2, againMsMax)
    setTimeout(connect, againMs)
  }
  socket.addEventListener('open', opened, { signal })
  socket.addEventListener('message', heard, { signal })
  socket.addEventListener('close', closed, { signal })
}

addEventListener('message', (event: MessageEvent<{ type?: unknown } | null>) => {
  if (event.origin !== origin || event.source !== frame?.contentWindow) return
  if (event.data?.type === '@statelyai.connected') connect()
})
