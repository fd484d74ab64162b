/** WebSockets of the port, whoever opens them: each says for itself what it does. */

/** What somebody who upgrades a request gives along as its data. */
export interface SocketLife {
  opened(socket: Socket): void
  heard(text: string): void
  drained(): void
  closed(): void
}

export type Socket = Bun.ServerWebSocket<SocketLife>

/** Only what is needed of the server: whoever has no port has none. */
export interface Upgrades {
  upgrade(request: Request, options: { data: SocketLife }): boolean
}

export function canUpgrade(server: unknown): server is Upgrades {
  return typeof server === 'object' && server !== null && 'upgrade' in server
}

/** For Bun's server. Viewers send a few words at most. */
export const sockets: Bun.WebSocketHandler<SocketLife> = {
  open: (socket) => socket.data.opened(socket),
  message: (socket, message) => socket.data.heard(String(message)),
  drain: (socket) => socket.data.drained(),
  close: (socket) => socket.data.closed(),
  maxPayloadLength: 4096,
  backpressureLimit: 4 * 1_048_576,
  idleTimeout: 60,
  sendPings: true,
}
