/** The node's port. */
import { describeError, UnavailableError, UsageError } from '../../actors/errors.ts'
import { guard } from './guard.ts'
import { problemOf } from './problem.ts'

export interface HttpServer {
  url: string
  stop(): Promise<void>
}

export interface HttpServerOptions {
  host: string
  port: number
  token?: string
  handle(request: Request): Response | Promise<Response>
}

/**
 * @throws UsageError when it would be open to the network without a token, UnavailableError when
 * the port is taken
 */
export function httpServer(options: HttpServerOptions): HttpServer {
  const { host, port, token, handle } = options
  if (token === undefined && !isLoopback(host)) {
    throw new UsageError(
      `http.host: ${host} is not a loopback address, and whoever reaches it could run commands; ` +
        'set a token with --token-file FILE, or listen on 127.0.0.1',
    )
  }
  const refuse = guard({ host, ...(token === undefined ? {} : { token }) })
  try {
    const server = Bun.serve({
      hostname: host,
      port,
      // Uploads and events last as long as they last.
      idleTimeout: 0,
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      // Otherwise Bun answers with pages of its own, and prints what breaks off.
      development: false,
      // Which would otherwise mean that two nodes may listen on one port.
      reusePort: false,
      error: problemOf,
      fetch: (request) => refuse(request) ?? handle(request),
    })
    return {
      url: `http://${reachable(host)}:${server.port}`,
      stop: () => server.stop(true),
    }
  } catch (error) {
    throw new UnavailableError(
      `cannot listen on ${host}:${port}: ${describeError(error).message}; ` +
        'choose another port with --port (0 takes any that is free)',
      { cause: error, code: 'PORT_TAKEN' },
    )
  }
}

/** A name under which an address that is listened on can be reached from this machine. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') ? `[${host}]` : host
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}
