/**
 * Our supervisors beside those of Erlang/OTP: the same specifications and falls, and after every
 * step the same starts and stops in the same order, the same children alive, the same counts and
 * the same verdict. Back-offs are 0 and children are ready at once, for OTP knows neither.
 *
 * Where we differ on purpose, and what is therefore left out here:
 * - an intensity of 0 is refused by ours: a supervisor that never restarts is a mistake
 * - a dynamic supervisor of ours may have children of different restart types, OTP's may not
 * - the children of a dynamic supervisor stop all at once in both: their order is not compared
 * - the reasons of an end: OTP's supervisors exit with `shutdown` both when they give up and when
 *   they are done; ours end in error and in their final state. OTP's log tells which it was.
 */
import { expect, test } from 'bun:test'
import { hasErlang, type OtpCase, type OtpChild, runOtpSupervisors } from '../kit/otp-supervisor.ts'
import { type Random, seededRandom, testSeed } from '../kit/random.ts'
import { begin, planned, type Supervised } from './supervised.ts'

const caseCount = 2000
const ids = ['a', 'b', 'c', 'd', 'e']

function randomCase(random: Random): OtpCase {
  const strategies = ['one_for_one', 'one_for_all', 'rest_for_one', 'simple_one_for_one'] as const
  const strategy = random.pick(strategies)
  const isDynamic = strategy === 'simple_one_for_one'
  const autoShutdown = isDynamic
    ? 'never'
    : random.pick(['never', 'any_significant', 'all_significant', 'all_significant'] as const)
  const restarts = ['permanent', 'permanent', 'transient', 'temporary'] as const
  const common = random.pick(restarts)
  const child = (id: string): OtpChild => {
    const restart = isDynamic ? common : random.pick(restarts)
    const maySignify = autoShutdown !== 'never' && restart !== 'permanent'
    return { id, restart, significant: maySignify && random.chance(0.7) }
  }
  const verbs = ['crash', 'crash', 'crash', 'crash', 'normal', 'normal', 'remove', 'add'] as const
  return {
    strategy,
    intensity: random.integer(1, 6),
    autoShutdown,
    children: ids.slice(0, random.integer(1, 5)).map(child),
    steps: Array.from({ length: random.integer(1, 16) }, () => {
      const verb = random.pick(verbs)
      const id = random.pick(ids)
      return verb === 'add' ? { verb, child: child(id) } : { verb, id }
    }),
  }
}

/** Lets a supervisor of ours live through a case, and tells of it as the other one does. */
function runOurs({ strategy, intensity, autoShutdown, children, steps }: OtpCase): string[] {
  const isDynamic = strategy === 'simple_one_for_one'
  const starts = new Map<string, number>()
  const it = begin(
    children.map((child) => planned(child.id, child)),
    {
      strategy: isDynamic ? 'dynamic' : strategy,
      intensity,
      autoShutdown,
      windowMs: 86_400_000,
      backoff: { baseMs: 0, capMs: 0, jitter: 0 },
    },
  )
  const told: string[] = []
  const tell = (): string => {
    obey(it)
    const done = it.log.splice(0)
    for (const line of done) {
      const id = line.slice(1)
      if (line.startsWith('+')) starts.set(id, (starts.get(id) ?? 0) + 1)
    }
    const alive = [...it.alive.keys()].toSorted()
    const counts = [...starts].map(([id, count]) => `${id}:${count}`).toSorted()
    const { status } = it.actor.getSnapshot()
    const verdict = { active: 'alive', done: 'shutdown', error: 'gave_up', stopped: 'stopped' }
    told.push([done, alive, counts].map((list) => `${list.join(' ')} | `).join('') + verdict[status])
    return status
  }
  tell()
  for (const step of steps) {
    if (step.verb === 'add') it.add(step.child.id, step.child)
    else if (step.verb === 'remove') it.remove(step.id)
    else if (step.verb === 'crash') it.crash(step.id)
    else it.end(step.id)
    if (tell() !== 'active') break
  }
  return told
}

/** Everybody does at once what is expected of him, until nothing is. */
function obey(it: Supervised): void {
  for (let before = ''; before !== JSON.stringify(it.statuses()); ) {
    before = JSON.stringify(it.statuses())
    it.clock.advance(0)
    for (const [id, status] of Object.entries(it.statuses())) {
      if (status === 'starting') it.ready(id)
      if (status === 'stopping') it.end(id)
    }
  }
}

/** The order in which the children of a dynamic supervisor are stopped is nobody's business. */
function comparable({ strategy }: OtpCase, told: readonly string[]): string[] {
  if (strategy !== 'simple_one_for_one') return [...told]
  return told.map((line) => {
    const [done = '', ...rest] = line.split(' | ')
    return [done.split(' ').toSorted().join(' '), ...rest].join(' | ')
  })
}

if (!hasErlang()) {
  console.log('skipped: no escript here, so ours cannot be compared with the supervisors of OTP')
}

test.skipIf(!hasErlang())('a supervisor does what one of Erlang/OTP does', async () => {
  const seed = testSeed()
  console.log(`${caseCount} cases of seed ${seed}`)
  const random = seededRandom(seed)
  const cases = Array.from({ length: caseCount }, () => randomCase(random))
  const { release, told } = await runOtpSupervisors(cases)
  if (release < 24) {
    console.log(`skipped: OTP ${release} knows no significant children, 24 is the first that does`)
    return
  }
  expect(told).toHaveLength(caseCount)
  const verdicts = new Map<string, number>()
  for (const [index, one] of cases.entries()) {
    const theirs = told[index] ?? []
    const verdict = theirs.at(-1)?.split(' | ').at(-1) ?? ''
    verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1)
    const difference = { case: one, told: comparable(one, runOurs(one)) }
    expect(difference).toEqual({ case: one, told: comparable(one, theirs) })
  }
  console.log(`OTP ${release}: ${[...verdicts].map((entry) => entry.join(' ')).join(', ')}`)
  // Cases in which nothing ends would prove little.
  for (const verdict of ['alive', 'shutdown', 'gave_up']) {
    expect(verdicts.get(verdict) ?? 0).toBeGreaterThan(caseCount / 50)
  }
})
