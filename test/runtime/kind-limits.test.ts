/** How long an attempt may take, as its worker is told: all that its executor allows. */
import { describe, expect, test } from 'bun:test'
import { z } from 'zod'
import { defineTask } from '../../actors/kind.ts'
import { loadConfig } from '../../config/load.ts'
import { kindsOf } from '../../runtime/kinds.ts'

const { config } = loadConfig({ fileValues: {}, fileName: 'test', env: {} })
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const define = (kind: string, over: { timeoutMs?: number } = {}) =>
  defineTask({ kind, input: z.unknown(), run() {}, ...over })
const worker = { ...config.worker, handlerTimeoutMs: 7000, commandHardKillMs: 40_000 }
const kinds = kindsOf([define('plain'), define('brisk', { timeoutMs: 300 })], worker, silent)
const limitOf = (kind: string, timeoutMs?: number) =>
  kinds.get(kind)?.limitMs(timeoutMs === undefined ? {} : { timeoutMs })

describe('the limit of an attempt', () => {
  test("of a handler is the task's, else that of its kind, else the configured one", () => {
    expect([limitOf('brisk', 50), limitOf('brisk'), limitOf('plain')]).toEqual([50, 300, 7000])
  })

  test('of a command is when it is killed, and what it may take to be gone', () => {
    expect(limitOf('exec')).toBe(40_000 + 10_200)
    // SIGTERM at the limit, SIGKILL after as much again, five seconds at most.
    expect(limitOf('exec', 2000)).toBe(4000 + 10_200)
    expect(limitOf('exec', 60_000)).toBe(65_000 + 10_200)
  })
})
