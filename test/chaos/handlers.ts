/** Handlers that do what no handler should: only they suffer for it. */
import type { Random } from '../kit/random.ts'
import { Arena, type Line, mixture } from './arena.ts'
import { type Row, type Trial, trial } from './row.ts'

interface Way {
  name: string
  fault: string
  ways: readonly string[]
  ends: readonly string[]
  /** Whether it takes its worker process down, and neighbours have to run again. */
  isDeadly?: boolean
}

const ways: readonly Way[] = [
  {
    name: 'throws',
    fault: 'handler throws, `undefined` too',
    ways: ['throw', 'throw nothing'],
    ends: ['failed'],
  },
  {
    name: 'throws-later',
    fault: 'handler throws, or rejects, when it has long returned',
    ways: ['throw later', 'reject later'],
    ends: ['ok'],
  },
  {
    name: 'hangs',
    fault: 'handler hangs, heeding its signal or not',
    ways: ['hang', 'deaf'],
    ends: ['timeout'],
  },
  {
    name: 'spins',
    fault: 'handler blocks the event loop for ever',
    ways: ['spin'],
    ends: ['dead'],
    isDeadly: true,
  },
  {
    name: 'exits',
    fault: 'handler exits or kills its process',
    ways: ['exit', 'kill'],
    ends: ['dead'],
    isDeadly: true,
  },
  {
    name: 'eats',
    fault: 'handler eats all memory',
    ways: ['eat'],
    // An array that finds no memory throws, where the kernel was not faster.
    ends: ['dead', 'failed'],
    isDeadly: true,
  },
  {
    name: 'huge',
    fault: 'handler returns 100 MB',
    ways: ['huge'],
    ends: ['failed'],
  },
  {
    name: 'garbage',
    fault: 'handler returns what is no JSON: functions, BigInt, cycles, symbols, traps',
    ways: ['function', 'bigint', 'cycle', 'symbol', 'proxy', 'thenable', 'toJSON'],
    ends: ['failed'],
  },
  {
    name: 'odd',
    fault: 'handler returns undefined, NaN, an invalid Date',
    ways: ['undefined', 'nan', 'date'],
    ends: ['ok'],
  },
]

async function wild(random: Random, { ways: all, ends, isDeadly }: Way): Promise<Trial> {
  const arena = new Arena({
    env: {
      MUSTER_WORKER_ATTEMPTS: '3',
      MUSTER_WORKER_PROCESS_SILENCE_MS: '2000',
      // Only so that it is a matter of seconds.
      MUSTER_WORKER_RETRY_BASE_MS: '20',
    },
  })
  try {
    await arena.start({ processes: 2 })
    const lines = mixture(random, 100).filter(({ once }) => once !== true)
    for (const way of all) {
      const limit = way === 'hang' || way === 'deaf' ? { timeoutMs: 300 } : {}
      const line: Line = {
        line: JSON.stringify({ kind: 'wild', input: { way }, ...limit }),
        hasEffect: true,
        ends,
      }
      lines.splice(random.integer(0, lines.length), 0, line)
    }
    await arena.submit(lines)
    const verdict = await arena.verdict({ mayRepeat: isDeadly === true, timeoutMs: 60_000 })
    return trial(verdict)
  } finally {
    await arena.close()
  }
}

export const handlers: Row[] = ways.map((way) => ({
  name: `handler-${way.name}`,
  fault: way.fault,
  seeds: 20,
  atOnce: 2,
  run: (random) => wild(random, way),
}))
