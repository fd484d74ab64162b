/** The line to the node: opened anew whenever it breaks, and told so. */
import type { Frame } from './frame.ts'

export interface LineListener {
  opened(): void
  heard(frame: Frame): void
  lost(): void
}

export interface Line {
  /** The actor whose context is wanted. */
  select(sessionId: string | undefined): void
}

const againMsMax = 8000

export function socketUrl(search: string): string {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${location.host}/inspect/ws${search}`
}

export function openLine(listener: LineListener): Line {
  let socket: WebSocket
  let againMs = 250
  let selected: string | undefined
  const say = () => {
    if (socket.readyState === WebSocket.OPEN) socket.send(`select ${selected ?? ''}`)
  }
  const connect = () => {
    socket = new WebSocket(socketUrl('?detail=page'))
    socket.addEventListener('open', () => {
      againMs = 250
      listener.opened()
    })
    socket.addEventListener('message', ({ data }: MessageEvent<string>) => {
      listener.heard(JSON.parse(data) as Frame)
    })
    socket.addEventListener('close', () => {
      listener.lost()
      againMs = Math.min(againMs * 2, againMsMax)
      setTimeout(connect, againMs)
    })
  }
  connect()
  return {
    select(sessionId) {
      if (sessionId === selected) return
      selected = sessionId
      say()
    },
  }
}
