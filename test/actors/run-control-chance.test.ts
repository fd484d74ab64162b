/** Runs that are paused, resumed and cancelled as chance has it, while their tasks run. */
import { afterEach, expect, test } from 'bun:test'
import { type Random, seededRandom, testSeed } from '../kit/random.ts'
import { type Floor, nothingIsLeft, openFloor } from './controlling.ts'
import { countTo, sourceOf } from './feed.ts'
import { failed, taskOf } from './world.ts'

const floors: Floor[] = []
afterEach(() => {
  // The clock stands still: nobody is waited for.
  for (const { world } of floors.splice(0)) void world.close()
})

/** Everything at once, as chance has it. */
async function play(random: Random): Promise<void> {
  const total = random.integer(20, 120)
  const keys = random.integer(1, 4)
  const retried = new Set(countTo(total).filter(() => random.chance(0.1)))
  const hopeless = new Set(countTo(total).filter(() => random.chance(0.02)))
  const parents = new Map<number, number[]>()
  const tasks = countTo(total).map((seq) => {
    const isKeyed = random.chance(0.5)
    const needs = [random.integer(0, seq), random.integer(0, seq)].filter((need) => need < seq)
    if (!isKeyed && random.chance(0.2) && needs.length > 0) parents.set(seq, needs)
    const dependsOn = parents.get(seq)?.map((need) => `t-${need}`)
    return taskOf('job', {
      id: `t-${seq}`,
      ...(isKeyed ? { key: `k-${seq % keys}` } : {}),
      ...(dependsOn === undefined ? {} : { dependsOn }),
    })
  })
  const window = random.chance(0.5) ? random.integer(1, 20) : undefined
  const floor = await openFloor({
    work: ({ seq, attempt }) => ({
      ms: random.integer(0, 20),
      ...(hopeless.has(seq) || (retried.has(seq) && attempt === 1) ? { execution: failed } : {}),
    }),
    kind: { concurrency: random.integer(1, 12), attempts: 2 },
    dispatcher: {
      inFlightMax: random.integer(5, 100),
      depthMax: random.integer(5, 100),
    },
  })
  floors.push(floor)
  const { world, clock } = floor
  let heldBack = false
  const wrong: string[] = []
  floor.onStart = ({ seq, attempt }) => {
    if (heldBack) wrong.push(`${seq}#${attempt} began while its run was held back`)
  }
  const opened = Promise.withResolvers<string>()
  const submitting = floor.dispatcher.submit({
    source: sourceOf(tasks, random.integer(1, 30)),
    onOpen: opened.resolve,
    ...(window === undefined ? {} : { window: { tasks: window } }),
  })
  const run = await opened.promise
  const cancelAt = random.chance(0.4) ? random.integer(1, 40) : Infinity
  for (let step = 0; step < 60; step += 1) {
    await clock.pass(random.integer(0, 15))
    if ((await floor.progress(run)).run.finishedAt !== undefined) break
    const action = step === cancelAt ? 'cancel' : random.pick(['pause', 'resume'] as const)
    if (step > cancelAt || !(random.chance(0.5) || action === 'cancel')) continue
    heldBack = false
    await world.accounting.control(run, action, 'chance')
    // Sometimes the next word comes before this one is heard.
    if (random.chance(0.3)) continue
    await clock.settle()
    heldBack = (await floor.progress(run)).hold !== undefined
  }
  const { hold } = await floor.progress(run)
  heldBack = false
  if (hold === 'paused') await world.accounting.control(run, 'resume', 'end')
  const over = await floor.over(run)
  await submitting
  expect(wrong).toEqual([])
  const { pending, ...ends } = over.counts
  expect(pending).toBe(0)
  expect(Object.values(ends).reduce((sum, count) => sum + count, 0)).toBe(over.total)
  const lines = await floor.lines(run)
  expect(lines.map(({ seq }) => seq)).toEqual(countTo(over.total))
  const attempts = floor.starts.map(({ seq, attempt }) => `${seq}#${attempt}`)
  expect(attempts.length).toBe(new Set(attempts).size)
  for (const key of countTo(keys)) {
    const mine = floor.starts.filter((start) => start.key === `k-${key}`)
    const seqs = mine.map(({ seq, attempt }) => seq * 10 + attempt)
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
  }
  const outcomeOf = new Map(lines.map(({ seq, outcome }) => [seq, outcome]))
  for (const { seq } of floor.starts) {
    for (const parent of parents.get(seq) ?? []) expect(outcomeOf.get(parent)).toBe('ok')
  }
  if (window !== undefined) expect(floor.runningMost).toBeLessThanOrEqual(window)
  if (over.state === 'completed') {
    const bad = new Set<number>()
    for (const seq of countTo(total)) {
      const isBad = hopeless.has(seq) || (parents.get(seq) ?? []).some((need) => bad.has(need))
      if (isBad) bad.add(seq)
      expect([seq, outcomeOf.get(seq)]).toEqual([
        seq,
        hopeless.has(seq) && (parents.get(seq) ?? []).every((need) => !bad.has(need))
          ? 'failed'
          : isBad
            ? 'unreached'
            : 'ok',
      ])
    }
  }
  await nothingIsLeft(floor)
}

test('each task ends once, in order, and begins only while its run is not held back', async () => {
  const seed = testSeed()
  for (let round = 0; round < 12; round += 1) {
    try {
      await play(seededRandom(seed + round))
    } catch (error) {
      throw new Error(`SEED=${seed + round}, first round: ${String(error)}`, { cause: error })
    }
  }
}, 60_000)
