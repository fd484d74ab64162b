/** A worker process killed every few seconds, beside a node that is left in peace. */
import { eventually } from '../kit/eventually.ts'
import { countRows } from '../kit/ledger.ts'
import { lasting } from '../kit/outage.ts'
import type { Random } from '../kit/random.ts'
import { Arena, effectLine } from './arena.ts'
import { also, type Row, type Trial, trial } from './row.ts'

const lastsMs = 60_000
const everyMs = 5000
/** About half of what both processes could do together, so one can nearly do it alone. */
const rate = 300
const env = {
  MUSTER_DISPATCHER_RATE: String(rate),
  MUSTER_DISPATCHER_BURST: String(rate),
  MUSTER_DISPATCHER_WHEN_FULL: 'wait',
}

async function repeated(random: Random): Promise<Trial> {
  const disturbed = new Arena({ env })
  const undisturbed = new Arena({ env })
  try {
    // More than can be done in that time.
    const total = (rate * (lastsMs + 10_000)) / 1000
    const lines = Array.from({ length: total }, () => effectLine({ ms: random.integer(5, 35) }))
    const done = await Promise.all(
      [disturbed, undisturbed].map(async (arena) => {
        await arena.start({ processes: 2 })
        await arena.submit(lines)
        await eventually(() => {
          if (countRows(arena.dataDir) === 0) throw new Error('nothing is done yet')
        })
        const until = performance.now() + lastsMs
        while (performance.now() < until) {
          await lasting(Math.min(everyMs, until - performance.now()))
          if (arena === undisturbed) continue
          // While one is being started again, it is the other's turn.
          process.kill(random.pick(await arena.workers()), 'SIGKILL')
        }
        return countRows(arena.dataDir)
      }),
    )
    const [under = 0, free = 0] = done
    const verdict = await disturbed.verdict({ mayRepeat: true, timeoutMs: 60_000 })
    const { items } = await disturbed.get<{ items: unknown[] }>('/v1/deadletters?state=open')
    const percent = Math.round((under / free) * 1000) / 10
    console.error(`     ${under} tasks with kills, ${free} without: ${percent} %`)
    return also(trial(verdict), [
      percent < 95 && `${percent} % of the undisturbed progress (${under} of ${free})`,
      items.length > 0 && `${items.length} healthy tasks in the dead letters`,
    ])
  } finally {
    await disturbed.close()
    await undisturbed.close()
  }
}

export const repeatedKills: Row = {
  name: 'repeated-kills',
  fault:
    `a worker process killed every ${everyMs / 1000} s for a minute: ` +
    'at least 95 % of undisturbed progress',
  seeds: 3,
  run: repeated,
}
