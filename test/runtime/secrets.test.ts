import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { defineTask, secret, TerminalError } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { startRedis } from '../kit/redis.ts'
import { startNode } from './started-node.ts'

const password = 'correct-horse-battery'

test('a secret reaches the handler, and nothing that a node shows or logs', async () => {
  const seen: string[] = []
  const login = defineTask({
    kind: 'login',
    input: z.strictObject({ user: z.string(), password: secret(z.string().max(50)) }),
    async run(input, { log }) {
      seen.push(input.password)
      log.warn({ input }, `trying ${input.password}`)
      if (input.user === 'nobody') throw new TerminalError(`${input.password} is wrong`)
      return { as: input.user, with: input.password }
    },
  })
  const redis = await startRedis()
  const dataDir = temporaryDirectory()
  const { node, ask, run } = await startNode({
    dataDir,
    redis: { url: redis.url },
    tasks: [login],
    log: { level: 'warn' },
  })
  const line = (user: string, word: unknown) =>
    `${JSON.stringify({ kind: 'login', input: { user, password: word } })}\n`
  const done = await run(
    line('root', password) +
      line('nobody', password) +
      line('x', [password]) +
      line('y', password.repeat(3)),
  )
  expect(done.counts).toMatchObject({ ok: 1, failed: 1 })
  expect(done.rejected.map(({ path, message }) => `${path}: ${message}`)).toEqual([
    'input.password: expected a string, got another, which is secret',
    'input.password: expected at most 50 characters, got another, which is secret',
  ])
  expect(seen).toEqual([password, password])
  const shown = await Promise.all(
    ['', '/results', '/tasks/0', '/tasks/1'].map(async (path) =>
      (await ask(`/v1/runs/${done.id}${path}`)).text(),
    ),
  )
  expect(shown[1]).toContain('"with":"***"')
  expect(shown[3]).toContain('*** is wrong')
  await node.stop()
  for (const folder of ['log', 'audit']) {
    const texts = readdirSync(join(dataDir, folder)).map((file) =>
      readFileSync(join(dataDir, folder, file), 'utf8'),
    )
    expect(texts.join('')).toContain('***')
    shown.push(...texts)
  }
  expect(shown.join('\n')).not.toContain(password)
  await redis.stop()
})
