/** A thread that runs commands. While it starts a process it stands still, and nobody else does. */
import { tmpdir } from 'node:os'
import { parentPort } from 'node:worker_threads'
import type { Executor, Log, LogLevel } from '../../../actors/ports.ts'
import { Cgroups } from '../cgroups.ts'
import { commandExecutor } from '../command.ts'
import { Fifos } from '../fifos.ts'
import { type Answer, batching, type Opening, type Order } from './words.ts'

const tell: (answer: Answer) => void = batching((words) => parentPort?.postMessage(words))

const log: Log = Object.fromEntries(
  (['debug', 'info', 'warn', 'error'] as const).map((level: LogLevel) => [
    level,
    (fields: Record<string, unknown>, message: string) => {
      tell({ type: 'logged', level, fields, message })
    },
  ]),
) as Log

/** What is to come after one that takes longer is better off elsewhere. */
const returnAfterMs = 10

type RunOrder = Order & { type: 'run' }

const cancels = new Map<number, AbortController>()
/** By what they come after. */
const next = new Map<number, { order: RunOrder; timer: ReturnType<typeof setTimeout> }>()
let executor: Executor | undefined
let pipes: Fifos | undefined

async function open({ options, hierarchies, prefix }: Opening): Promise<void> {
  const cgroups = new Cgroups(hierarchies, prefix)
  const fifos = new Fifos({ directory: options.spillDir ?? tmpdir(), log })
  pipes = fifos
  executor = commandExecutor({
    ...options,
    log,
    open: async () => ({
      cgroups,
      // That of the process looks into these cgroups as well.
      guardian: { wake() {}, watch() {}, forget() {}, close() {} },
      pipes: fifos,
      async close() {
        fifos.close()
        cgroups.close()
      },
    }),
  })
  await executor.start()
  tell({ type: 'opened' })
}

async function run({ id, task, context }: RunOrder): Promise<void> {
  if (executor === undefined) throw new Error('expected to be opened before anything is run')
  const cancel = new AbortController()
  cancels.set(id, cancel)
  const began = performance.now()
  const execution = await executor.run(task, { ...context, signal: cancel.signal })
  cancels.delete(id)
  tell({ type: 'ended', id, execution, durationMs: performance.now() - began })
  const follower = leaveNext(id)
  if (follower !== undefined) void run(follower)
}

function begin(order: RunOrder): void {
  const { after } = order
  if (after === undefined || !cancels.has(after)) {
    void run(order)
    return
  }
  const timer = setTimeout(() => giveBack(after), returnAfterMs)
  next.set(after, { order, timer })
  pipes?.prepare()
}

function leaveNext(before: number): RunOrder | undefined {
  const follower = next.get(before)
  next.delete(before)
  clearTimeout(follower?.timer)
  return follower?.order
}

function giveBack(before: number): void {
  const order = leaveNext(before)
  if (order !== undefined) tell({ type: 'returned', id: order.id })
}

function recall(id: number): void {
  for (const [before, { order }] of next) if (order.id === id) giveBack(before)
}

async function stop(): Promise<void> {
  for (const before of next.keys()) giveBack(before)
  await executor?.stop()
  tell({ type: 'stopped' })
}

parentPort?.on('message', (words: string) => {
  for (const order of JSON.parse(words) as Order[]) {
    if (order.type === 'run') begin(order)
    else if (order.type === 'abort') cancels.get(order.id)?.abort()
    else if (order.type === 'recall') recall(order.id)
    else if (order.type === 'open') void open(order.opening)
    else void stop()
  }
})
