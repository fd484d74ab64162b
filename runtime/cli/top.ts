/** `muster top`: a live view of a node. Drawn again on a terminal, printed once elsewhere. */
import { describeError, UnavailableError } from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import type { Muster } from '../client-api.ts'
import { systemClock } from '../clock.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { readSamples } from './samples.ts'
import { Screen } from './screen.ts'
import { frameOf, type Look, linesOf, type TopFrame } from './top-frame.ts'

export interface TopFlags {
  once?: boolean
  /** Between two looks, ms; given on no terminal, or with --json, it prints one after the other. */
  interval?: number
}

const intervalMs = 1000
/** Between the two looks of which a single frame tells what happens a second. */
const shortMs = 500
const runsMax = 20
const openStates: ReadonlySet<Run['state']> = new Set(['accepting', 'running', 'paused'])

export async function top(invocation: Invocation, flags: TopFlags): Promise<number> {
  const { terminal } = invocation
  const { muster, stop } = await locate(invocation)
  const isLive = process.stdout.isTTY && !terminal.json && flags.once !== true
  try {
    if (isLive) return await live(invocation, muster, flags.interval ?? intervalMs)
    const print = (frame: TopFrame) => terminal.print(textOf(frame, invocation))
    const first = await lookAt(muster)
    await systemClock.wait(shortMs)
    let last = await lookAt(muster)
    await print(frameOf(last, first))
    while (flags.interval !== undefined && flags.once !== true && !terminal.closed) {
      await systemClock.wait(flags.interval)
      const next = await lookAt(muster)
      await print(frameOf(next, last))
      last = next
    }
    return exitCodes.ok
  } finally {
    await stop()
  }
}

/** Until somebody leaves. A node that does not answer is waited for, and that is said. */
async function live(invocation: Invocation, muster: Muster, everyMs: number): Promise<number> {
  const { terminal } = invocation
  const screen = new Screen()
  let before: Look | undefined
  let frame: TopFrame | undefined
  try {
    screen.open()
    while (!screen.left.aborted && !terminal.closed) {
      let trouble: string | undefined
      try {
        const look = await lookAt(muster)
        frame = frameOf(look, before)
        before = look
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        trouble = describeError(error).message
      }
      const { columns, rows } = screen
      const size = { columns, rows: rows - 1, colors: terminal.out }
      const lines = frame === undefined ? [] : linesOf(frame, size)
      if (trouble !== undefined) lines.splice(0, 1, terminal.out.red(trouble.slice(0, columns)))
      screen.draw([...lines, terminal.out.dim('q leaves')])
      await systemClock.wait(everyMs, screen.left)
    }
  } finally {
    screen.close()
  }
  return exitCodes.ok
}

function textOf(frame: TopFrame, { terminal }: Invocation): string {
  if (terminal.json) return `${JSON.stringify(frame)}\n`
  // Of a file nobody knows how wide it is read.
  const size = { columns: Number.POSITIVE_INFINITY, rows: Number.POSITIVE_INFINITY }
  return `${linesOf(frame, { ...size, colors: terminal.out }).join('\n')}\n`
}

async function lookAt(muster: Muster): Promise<Look> {
  const [system, nodes, page, text] = await Promise.all([
    muster.system.get(),
    muster.nodes(),
    muster.list({ limit: 100 }),
    muster.system.metrics(),
  ])
  const open = page.items.filter(({ state }) => openStates.has(state))
  return {
    at: Date.now(),
    url: muster.url,
    system,
    nodes,
    runs: open.slice(0, runsMax),
    metrics: readSamples(text),
  }
}
