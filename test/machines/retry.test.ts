import { describe, expect, test } from 'bun:test'
import { failureClasses, type RetryQuestion, triesAgain } from '../../machines/retry.ts'

const handler: RetryQuestion = {
  outcome: 'failed',
  stage: 'run',
  errorCode: 'Error',
  attempt: 1,
  kindAttempts: 6,
  command: false,
}
const command: RetryQuestion = { ...handler, errorCode: 'EXIT', exitCode: 1, command: true }
const timeout = { outcome: 'timeout', errorCode: 'TIMEOUT' } as const

/** What it is asked, and whether the task is tried again. */
type Case = readonly [fact: string, question: RetryQuestion, again: boolean]

const cases: readonly Case[] = [
  ['a handler that throws', handler, true],
  ['a handler that runs out of time', { ...handler, ...timeout }, true],
  ['the fifth attempt of a handler', { ...handler, attempt: 5 }, true],
  ['the sixth attempt of a handler', { ...handler, attempt: 6 }, false],
  ['a handler with attempts: 1', { ...handler, attempts: 1 }, false],
  [
    'the sixth attempt of a handler with attempts: 7',
    { ...handler, attempt: 6, attempts: 7 },
    true,
  ],
  ['a TerminalError', { ...handler, stage: 'terminal' }, false],
  ['a TerminalError with attempts', { ...handler, stage: 'terminal', attempts: 9 }, false],
  [
    'a TerminalError that retryOn names',
    { ...handler, stage: 'terminal', errorCode: 'TERMINAL', retryOn: ['code:TERMINAL'] },
    false,
  ],
  ['a handler that could not be started', { ...handler, stage: 'start' }, true],

  ['a command that exits with another code', command, false],
  ['a command that runs out of time', { ...command, ...timeout }, false],
  ['a command with attempts', { ...command, attempts: 2 }, true],
  ['a command with attempts that runs out of time', { ...command, ...timeout, attempts: 2 }, true],
  ['the last attempt of a command', { ...command, attempt: 2, attempts: 2 }, false],
  ['a command that could not be started', { ...command, stage: 'start' }, true],
  ['a command that was not started six times', { ...command, stage: 'start', attempt: 6 }, false],
  ['a host that cannot be reached', { ...command, stage: 'start', errorCode: 'UNREACHED' }, true],

  ['an exit code that retryOn names', { ...command, exitCode: 75, retryOn: ['exit:75'] }, true],
  ['an exit code that retryOn does not name', { ...command, retryOn: ['exit:75'] }, false],
  [
    'an exit code that retryOn does not name, with attempts',
    { ...command, attempts: 5, retryOn: ['exit:75'] },
    false,
  ],
  ['retryOn after the last attempt', { ...command, attempt: 6, retryOn: ['exit:1'] }, false],
  ['a timeout that retryOn names', { ...command, ...timeout, retryOn: ['timeout'] }, true],
  [
    'an error code that retryOn names',
    { ...handler, errorCode: 'ECONNRESET', retryOn: ['code:ECONNRESET'] },
    true,
  ],
  ['a handler whose error retryOn does not name', { ...handler, retryOn: ['timeout'] }, false],
  ['an empty retryOn', { ...handler, retryOn: [] }, false],
  [
    'what could not be started, with a retryOn for something else',
    { ...command, stage: 'start', retryOn: ['exit:75'] },
    true,
  ],

  ['an error code that neverOn names', { ...handler, neverOn: ['code:Error'] }, false],
  ['an error code that neverOn does not name', { ...handler, neverOn: ['code:OTHER'] }, true],
  [
    'what neverOn and retryOn name',
    { ...command, retryOn: ['exit:1'], neverOn: ['exit:1'] },
    false,
  ],
  [
    'a host that cannot be reached, and neverOn says unreached',
    { ...command, stage: 'start', errorCode: 'UNREACHED', neverOn: ['unreached'] },
    false,
  ],
]

describe('is tried again', () => {
  for (const [fact, question, again] of cases) {
    test(`${fact}: ${again ? 'yes' : 'no'}`, () => {
      expect(triesAgain(question)).toBe(again)
    })
  }
})

describe('the classes of a failure', () => {
  test('are its exit code, its error code, and that it ran out of time', () => {
    expect(failureClasses({ ...command, ...timeout, exitCode: 143 })).toEqual([
      'timeout',
      'exit:143',
      'code:TIMEOUT',
    ])
  })

  test('say that a host was not reached', () => {
    expect(failureClasses({ ...handler, errorCode: 'UNREACHED' })).toEqual([
      'code:UNREACHED',
      'unreached',
    ])
  })

  test('of a failure without any code are none', () => {
    const { errorCode: _, ...silent } = handler
    expect(failureClasses(silent)).toEqual([])
  })
})
