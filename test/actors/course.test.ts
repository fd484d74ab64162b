/** A course is an actor of the subprocess machine: told the same, it does the same. */
import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { createActor } from 'xstate'
import { Course, type CourseEvent } from '../../actors/course.ts'
import { type SubprocessTimes, subprocessMachine } from '../../machines/subprocess.ts'
import { eventually } from '../kit/eventually.ts'
import { testSeed } from '../kit/random.ts'

const hour = 3_600_000
const never = { softKillMs: hour, hardKillMs: 2 * hour, drainMs: hour, reapMs: hour }

/** What is done for a course, in order. */
function recording(times: SubprocessTimes) {
  const deeds: unknown[] = []
  const course = new Course(times, {
    kill: (signal) => deeds.push(signal),
    releasePipes: () => deeds.push('release'),
    ended: (end) => deeds.push(end),
    failed: (error) => deeds.push(['failed', error]),
  })
  return { course, deeds }
}

const events: fc.Arbitrary<CourseEvent> = fc.oneof(
  fc.constantFrom<CourseEvent>(
    { type: 'process.started' },
    { type: 'process.failed', code: 'ENOENT', message: 'no such file' },
    { type: 'output.seen' },
    { type: 'output.ended' },
    { type: 'abort' },
  ),
  fc.record({
    type: fc.constant('process.exited' as const),
    exitCode: fc.constantFrom(0, 3, null),
    signal: fc.constantFrom('SIGTERM', null),
    isOutputEnded: fc.boolean(),
  }),
)

describe('a course', () => {
  test('does what an actor of the machine does, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(events, { maxLength: 8 }), fc.boolean(), (told, isWatched) => {
        const times = { ...never, ...(isWatched && { stallMs: hour }) }
        const expected: unknown[] = []
        const actor = createActor(subprocessMachine, { input: times })
        actor.on('group.kill', ({ signal }) => expected.push(signal))
        actor.on('pipes.release', () => expected.push('release'))
        actor.subscribe({ complete: () => expected.push(actor.getSnapshot().output) })
        actor.start()
        const { course, deeds } = recording(times)
        for (const event of told) {
          if (actor.getSnapshot().status === 'active') actor.send(event)
          course.take(event)
        }
        actor.stop()
        expect(deeds).toEqual(expected)
      }),
      { seed: testSeed(), numRuns: 1000 },
    )
  })

  test('goes on when its times are up: SIGTERM, SIGKILL, given up', async () => {
    const { course, deeds } = recording({ softKillMs: 5, hardKillMs: 10, drainMs: 5, reapMs: 5 })
    course.take({ type: 'process.started' })
    await eventually(() => expect(deeds.length).toBe(4))
    const end = { cause: 'timeLimit', exit: undefined, failure: undefined }
    expect(deeds).toEqual(['SIGTERM', 'SIGKILL', 'release', end])
  })

  test('takes what comes of an event only after it, and nothing after its end', () => {
    const deeds: string[] = []
    const course = new Course(never, {
      kill(signal) {
        course.take({ type: 'process.exited', exitCode: null, signal, isOutputEnded: true })
        deeds.push(signal)
      },
      releasePipes: () => undefined,
      ended: ({ cause, exit }) => deeds.push(`${cause} ${exit?.signal}`),
      failed: () => undefined,
    })
    course.take({ type: 'process.started' })
    course.take({ type: 'abort' })
    course.take({ type: 'abort' })
    expect(deeds).toEqual(['SIGKILL', 'SIGKILL', 'aborted SIGKILL'])
  })
})
