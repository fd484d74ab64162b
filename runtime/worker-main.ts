/**
 * A worker process: the workers of a node, with an event loop of their own. Started by its node
 * (worker-processes.ts), which tells it what to do and when to stop, and without which it ends.
 */
import { describeError, UnavailableError } from '../actors/errors.ts'
import type { LogSink } from '../actors/ports-log.ts'
import { systemClock } from './clock.ts'
import { forgetHeapSettings } from './heap-settings.ts'
import { createNode, type MusterNode } from './node.ts'
import type { FromWorker, ToWorker, WorkerAssignment } from './worker-processes.ts'

/** Often enough that a few lost ones do not look like silence. */
const beatMs = 1000
/** A process that nobody wants any more gives its tasks so long to notice. */
const orphanGraceMs = 500
/** A node that does not take the last word is on its way out as well. */
const lastWordMs = 500

forgetHeapSettings()

// A loop that stands still would not notice that the node is gone; a thread of its own does.
new Worker(new URL('./orphan-watch.ts', import.meta.url).href).unref()

let node: MusterNode | undefined
let beating: ReturnType<typeof setInterval> | undefined

process.on('message', (message: ToWorker) => {
  if (message.type === 'assignment') void work(message)
  else if (message.type === 'share') node?.throttle.set(message.share)
  else if (message.type === 'check') beat()
  else void end(message.graceMs)
})
process.on('disconnect', () => void end(orphanGraceMs))
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => void end(undefined))
}

async function work(assignment: WorkerAssignment): Promise<void> {
  const { name, member, config, dataDir, tasksFiles } = assignment
  node = createNode({
    config,
    dataDir,
    roles: ['worker'],
    ownsProcess: 'supervised',
    process: name,
    member,
    logSink: toNode,
    tasksFiles,
    // Told at once: with the next heartbeat it may be too late.
    onHolder: (holder) => tell({ type: 'holds', holder }),
    onSuspected: (isSuspected) => tell({ type: 'suspected', isSuspected }),
  })
  void node.stopped.then(leave)
  try {
    await node.start()
  } catch (error) {
    tell({ type: 'failed', isAway: error instanceof UnavailableError, ...describeError(error) })
    await node.stop(0)
    return
  }
  beat()
  beating = setInterval(beat, beatMs)
  tell({ type: 'ready' })
}

/** Lines are the node's as soon as they are on their way. */
const toNode: LogSink = {
  open: () => Promise.resolve(),
  append(lines) {
    const sent = Promise.withResolvers<void>()
    const message: FromWorker = {
      type: 'logged',
      lines: lines.map(({ level, text }) => [level, text]),
    }
    // Without a node nobody writes them; they are on stderr.
    if (!process.connected || process.send === undefined) sent.resolve()
    else {
      process.send(message, undefined, undefined, (error: Error | null) => {
        if (error === null) sent.resolve()
        else sent.reject(error)
      })
    }
    return sent.promise
  },
  close: () => Promise.resolve(),
}

function beat(): void {
  if (node === undefined) return
  tell({ type: 'beat', ...node.heartbeat() })
  tell({ type: 'counted', ...node.counted() })
  tellUndelivered(node)
}

function tellUndelivered(of: MusterNode): void {
  const letters = of.undelivered()
  if (letters.length > 0) tell({ type: 'undelivered', letters })
}

/** What was counted last is told before the end, if anybody listens. */
async function leave(exitCode: number): Promise<void> {
  const sent = Promise.withResolvers<void>()
  if (node === undefined || !process.connected) sent.resolve()
  else {
    tellUndelivered(node)
    const last: FromWorker = { type: 'counted', ...node.counted() }
    process.send?.(last, undefined, undefined, () => sent.resolve())
  }
  await Promise.race([sent.promise, systemClock.wait(lastWordMs)])
  process.exit(exitCode)
}

async function end(graceMs: number | undefined): Promise<void> {
  clearInterval(beating)
  if (node === undefined) process.exit(0)
  await node.stop(graceMs)
}

function tell(message: FromWorker): void {
  // Without a node nobody listens.
  if (process.connected) process.send?.(message)
}
