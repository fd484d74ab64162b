/** What handlers may do to the process that others run in: not much. */
import { afterAll, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn, muster } from '../kit/muster.ts'

const dataDir = temporaryDirectory()
afterAll(() => endProcessesIn(dataDir))

const library = join(import.meta.dir, '../../runtime/index.ts')
const tasks = `
import { z } from 'zod'
import { defineTask } from ${JSON.stringify(library)}

const input = z.object({})
const say = (who) => {
  console.log('log of', who)
  console.table([{ table: who }])
  process.stdout.write('written by ' + who + '\\n')
}
const define = (kind, how) => defineTask({ kind, input, run: () => say(kind), ...how })
export const inline = define('inline', {})
export const thread = define('thread', { executor: 'thread' })
export const child = define('process', { executor: 'process' })
export const leaves = define('leaves', { run: () => process.exit(7) })
export const late = define('leaves.late', { run: async () => { await 0; process.exit(7) } })
export const early = define('leaves.setup', { setup: () => process.exit(7) })
`
const file = join(dataDir, 'loud.mjs')
writeFileSync(file, tasks)
const run = (...kinds: readonly string[]) => {
  const lines = kinds.map((kind) => `${JSON.stringify({ kind, attempts: 1 })}\n`)
  const words = ['run', '-', '--tasks', file, '--json', '--ephemeral', '--timeout', '60s']
  return muster(words, { dataDir, stdin: lines.join('') })
}

test('what handlers print is no data: it goes to stderr', async () => {
  const { code, out, err } = await run('inline', 'thread', 'process')
  expect((JSON.parse(out) as Run).counts.ok).toBe(3)
  for (const who of ['inline', 'thread', 'process']) {
    for (const how of ['log of', 'written by']) expect(err).toContain(`${how} ${who}\n`)
  }
  expect(err).toContain('table')
  expect(code).toBe(0)
})

test('who calls process.exit in a process that works alone ends its own task', async () => {
  const { code, out } = await run('leaves', 'leaves.late', 'leaves.setup', 'inline')
  expect((JSON.parse(out) as Run).counts).toMatchObject({ ok: 1, failed: 3, pending: 0 })
  expect(code).toBe(1)
})
