/** Task file of the chaos rows: what the handlers do is appended to a file, for the oracle. */
import { appendFileSync } from 'node:fs'
import { z } from 'zod'
import { defineTask, type TaskContext } from '../../actors/kind.ts'
import { lasting } from '../kit/outage.ts'

const file = process.env['CHAOS_EFFECTS'] ?? ''
/** Of crash.ts, where it is loaded. */
const { crashPoint } = globalThis as { crashPoint?: (point: string) => void }

const pause = (ms: number, signal?: AbortSignal): Promise<void> => {
  const { promise, reject } = Promise.withResolvers<void>()
  signal?.addEventListener('abort', () => reject(signal.reason as Error))
  return Promise.race([lasting(ms), promise])
}

function note({ run, seq, attempt }: TaskContext): void {
  crashPoint?.('effect:before')
  appendFileSync(file, `${run} ${seq} ${attempt} ${process.pid} ${Date.now()}\n`)
  crashPoint?.('effect:after')
}

/** Leaves its line, takes its time; fails the first so many times. */
export const effect = defineTask({
  kind: 'effect',
  input: z.object({ ms: z.number().default(0), fails: z.number().default(0) }),
  async run({ ms, fails }, context) {
    note(context)
    if (ms > 0) await pause(ms)
    if (context.attempt <= fails) throw new Error('told to fail')
  },
})

const cycle: { self?: unknown } = {}
cycle.self = cycle
/** Whoever looks at that field of it is in for it. */
const trap = (field: string) =>
  Object.defineProperty({}, field, {
    get() {
      throw new Error('a trap')
    },
  })
const outputs: Record<string, unknown> = {
  undefined,
  function: () => 1,
  bigint: 1n,
  cycle,
  nan: Number.NaN,
  date: new Date(Number.NaN),
  symbol: Symbol('no JSON'),
  thenable: trap('then'),
  toJSON: trap('toJSON'),
  proxy: new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error('a trap')
      },
    },
  ),
  huge: undefined,
}

/** Everything that a handler should not do. */
export const wild = defineTask({
  kind: 'wild',
  input: z.object({ way: z.string() }),
  async run({ way }, context) {
    note(context)
    if (way === 'throw') throw new Error('thrown')
    if (way === 'throw nothing') throw undefined
    if (way === 'throw later')
      setTimeout(() => {
        throw new Error('thrown later')
      })
    if (way === 'reject later') void Promise.reject(new Error('rejected later'))
    if (way === 'hang') await pause(2 ** 30, context.signal)
    if (way === 'deaf') await pause(2 ** 30)
    if (way === 'spin') for (;;) Math.random()
    if (way === 'exit') process.exit(0)
    if (way === 'kill') process.kill(process.pid, 'SIGKILL')
    if (way === 'eat') await eat()
    if (way === 'huge') return 'x'.repeat(100 * 1_048_576)
    return outputs[way]
  },
})

/** All that its process may have, which is not much. */
async function eat(): Promise<void> {
  Bun.spawnSync(['prlimit', '--pid', String(process.pid), `--data=${500 * 1_048_576}`])
  const eaten: unknown[] = []
  for (;;) {
    eaten.push(Array.from({ length: 100_000 }, (_, n) => ({ n, text: `x${n}` })))
    await pause(1)
  }
}
