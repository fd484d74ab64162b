/**
 * Bull-board with a queue for every mailbox there is. It shows, retries, hastens and pauses. What
 * would take messages away or change them is refused: tasks are accounted for elsewhere, and would
 * be missed there; a run is cancelled as a whole.
 */
import { fileURLToPath } from 'node:url'
import { createBullBoard } from '@bull-board/api'
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter'
import { HonoAdapter } from '@bull-board/hono'
import type { Queue } from 'bullmq'
import { Hono, type MiddlewareHandler } from 'hono'
import { serveStatic } from 'hono/bun'
import { type AccessRole, roleOf } from '../access.ts'
import { problem } from '../problem.ts'
import type { BoardOptions } from './mount.ts'
import { summaryOf } from './summary.ts'

/** The queues behind the mailboxes. */
export interface BoardQueues {
  names(): Promise<string[]>
  queue(mailbox: string): Queue
}

type ServerAdapter = Parameters<typeof createBullBoard>[0]['serverAdapter']

/** Who looks asks every few seconds, and each of his questions would ask for the names again. */
const namesKeepMs = 500

/** Messages stay what they are and where they are, or come back. */
const allowed = [
  /^\/board\/api\/queues\/(pause|resume)$/,
  /^\/board\/api\/queues\/[^/]+\/(pause|resume|promote)$/,
  /^\/board\/api\/queues\/[^/]+\/retry\/failed$/,
  /^\/board\/api\/queues\/[^/]+\/[^/]+\/(retry|promote)$/,
]

const headers = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    // The library writes its styles into elements.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; '),
}

export function boardRoutes(options: BoardOptions): Hono {
  const boards = { read: new Board('read'), write: new Board('write') }
  const app = new Hono({ strict: false })
  app.onError((error) => {
    throw error
  })
  app.use(async (context, next) => {
    const role = roleOf(context)
    const refused = refuse(context.req.method, context.req.path, role)
    if (refused !== undefined) return refused
    const queues = options.queues()
    if (queues === undefined) {
      return problem(404, 'NO_BOARD', 'an ephemeral node keeps its mailboxes in memory: no queues')
    }
    const isStatic = context.req.path.startsWith('/board/static/')
    if (!isStatic) await boards[role].follow(queues)
    await next()
    return undefined
  })
  app.use(ownOriginOnly)
  for (const role of ['read', 'write'] as const) {
    const { pages } = boards[role]
    app.all('*', (context, next) =>
      roleOf(context) === role ? pages.fetch(context.req.raw) : next(),
    )
  }
  return app
}

function refuse(method: string, path: string, role: AccessRole): Response | undefined {
  if (method === 'GET' || method === 'HEAD') return undefined
  if (role !== 'write') return problem(403, 'READ_ONLY', 'this token may look, and change nothing')
  if (method === 'PUT' && allowed.some((pattern) => pattern.test(path))) return undefined
  const detail =
    'the board does not take messages away or change them, for their tasks would be missed; ' +
    'cancel their run instead'
  return problem(403, 'NOT_ON_THE_BOARD', detail)
}

/** The page as it is shipped asks another origin for letters; it does without. */
const ownOriginOnly: MiddlewareHandler = async (context, next) => {
  await next()
  const { res } = context
  const isPage = res.headers.get('content-type')?.startsWith('text/html') === true
  if (isPage) {
    const text = await res.text()
    const local = text.replace(/<link[^>]*\bhref="https?:[^>]*>/g, '')
    context.res = new Response(local, { status: res.status, headers: res.headers })
  }
  for (const [name, value] of Object.entries(headers)) context.res.headers.set(name, value)
}

/** The board as those of one role see it. */
class Board {
  readonly pages: Hono
  readonly #role: AccessRole
  readonly #board: ReturnType<typeof createBullBoard>
  readonly #shown = new Map<string, Queue>()
  #followedAt = Number.NEGATIVE_INFINITY

  constructor(role: AccessRole) {
    this.#role = role
    const serverAdapter = new HonoAdapter(serveStatic)
    serverAdapter.setBasePath('/board')
    const uiBasePath = fileURLToPath(
      new URL('.', import.meta.resolve('@bull-board/ui/package.json')),
    )
    this.#board = createBullBoard({
      queues: [],
      // It brings a copy of the types of its own.
      serverAdapter: serverAdapter as unknown as ServerAdapter,
      options: {
        uiBasePath,
        uiConfig: {
          boardTitle: 'Muster board',
          hideDocsLink: true,
          // It would ask Redis for all its clients, a queue at a time, whenever the page looks.
          showWorkers: false,
          miscLinks: [
            { text: 'Console', url: '/' },
            { text: 'Statecharts', url: '/inspect' },
          ],
          ...(role === 'read' ? { environment: { label: 'read only', color: '#6b7280' } } : {}),
        },
      },
    })
    const pages = new Hono({ strict: false })
    pages.route('/board', serverAdapter.registerPlugin())
    this.pages = pages
  }

  /** Shows the mailboxes there are now. */
  async follow(queues: BoardQueues): Promise<void> {
    const now = performance.now()
    if (now - this.#followedAt < namesKeepMs) return
    const names = await queues.names()
    this.#followedAt = now
    for (const name of this.#shown.keys()) {
      // After Redis was away, it is another queue of the same name.
      if (names.includes(name) && this.#shown.get(name) === queues.queue(name)) continue
      this.#board.removeQueue(name)
      this.#shown.delete(name)
    }
    for (const name of names.toSorted()) {
      if (this.#shown.has(name)) continue
      const queue = queues.queue(name)
      const adapter = new BullMQAdapter(queue, { readOnlyMode: this.#role === 'read' })
      adapter.setFormatter('data', summaryOf)
      adapter.setFormatter('name', (job: { data?: unknown }) => titleOf(job))
      this.#board.addQueue(adapter)
      this.#shown.set(name, queue)
    }
  }
}

function titleOf({ data }: { data?: unknown }): string {
  const { kind, run } = summaryOf(data)
  return kind === undefined ? 'envelope' : `${kind} of ${run}`
}
