/** Who follows a run hears of its end at once, and of its progress now and then. */
import { expect, test } from 'bun:test'
import type { Accounting, RunNotice, RunProgress } from '../../actors/ports-runs.ts'
import { noCounts } from '../../machines/outcome.ts'
import { RunFeed } from '../../runtime/http/feed.ts'
import { testClock } from '../kit/clock.ts'

function followed() {
  const clock = testClock()
  let tell: (notice: RunNotice | undefined) => void = () => {}
  let finishedAt: number | undefined
  const progress = () => ({
    run: {
      id: 'r-feed0000',
      counts: noCounts(),
      ...(finishedAt === undefined ? {} : { finishedAt }),
    },
  })
  const accounting = {
    watch: async (listener: typeof tell) => {
      tell = listener
      return async () => {}
    },
    get: async () => progress() as unknown as RunProgress,
  } as unknown as Accounting
  const feed = new RunFeed(accounting, clock)
  const seen: boolean[] = []
  const follow = async () => {
    await feed.open()
    const over = new AbortController()
    for await (const run of feed.follow('r-feed0000', over.signal)) {
      seen.push(run.finishedAt !== undefined)
    }
  }
  const notice = (state: RunNotice['state']) => {
    if (state === 'completed') finishedAt = clock.now()
    tell({ run: 'r-feed0000', done: 0, state })
  }
  return { clock, seen, following: follow(), notice }
}

test('the end of a run is told at once', async () => {
  const { clock, seen, following, notice } = followed()
  await clock.settle()
  notice('completed')
  await following
  expect(seen).toEqual([false, true])
})

test('the end is told at once though there was progress just before', async () => {
  const { clock, seen, following, notice } = followed()
  await clock.settle()
  notice('running')
  await clock.settle()
  notice('completed')
  await following
  expect(seen).toEqual([false, true])
})

test('progress is told a quarter second later, with all that came meanwhile', async () => {
  const { clock, seen, following, notice } = followed()
  await clock.settle()
  notice('running')
  notice('running')
  await clock.pass(240)
  expect(seen).toEqual([false])
  await clock.pass(20)
  expect(seen).toEqual([false, false])
  notice('completed')
  await following
})
