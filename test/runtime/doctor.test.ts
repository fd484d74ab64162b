import { expect, test } from 'bun:test'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { DoctorReport } from '../../runtime/cli/doctor.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { startRedis } from '../kit/redis.ts'
import { musterIn } from './cli-process.ts'

const folder = temporaryDirectory()
const muster = musterIn(folder)

async function doctor(...words: string[]): Promise<{ code: number; report: DoctorReport }> {
  const { out, code } = await muster(['doctor', '--json', ...words])
  return { code, report: JSON.parse(out) as DoctorReport }
}

const find = ({ checks }: DoctorReport, name: string) => checks.find(({ check }) => check === name)

function config(text: string): string {
  const file = join(temporaryDirectory(), 'muster.toml')
  writeFileSync(file, text)
  return file
}

const anyPort = '[http]\nport = 0\n'

test('all is well where a node would start', async () => {
  const redis = await startRedis()
  const { code, report } = await doctor('--config', config(anyPort), '--redis', redis.url)
  expect(report.checks.filter(({ status }) => status === 'failed')).toEqual([])
  expect([code, report.ok]).toEqual([
    report.checks.some(({ status }) => status === 'warning') ? 1 : 0,
    true,
  ])
  expect(find(report, 'redis')?.what).toBe('answers, and evicts nothing')
  await redis.stop()
})

test('what is missing is told with the command that mends it, and exit 2', async () => {
  const taken = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('') })
  const open = config(
    `[http]\nhost = "0.0.0.0"\nport = ${taken.port}\n[redis]\nurl = "redis://127.0.0.1:1"\n`,
  )
  const { code, report } = await doctor('--config', open)
  await taken.stop(true)
  expect(code).toBe(2)
  const failed = report.checks.filter(({ status }) => status === 'failed')
  expect(failed.map(({ check }) => check)).toEqual(['redis', 'port', 'token'])
  for (const { mend } of failed) expect(mend).toMatch(/^(muster start|\(umask 077)/)
  const { out } = await muster(['doctor', '--config', open])
  expect(out).toContain('mend it: ')
})

test('a config file with a mistake is told as such, and nothing else is guessed', async () => {
  const { code, report } = await doctor('--config', config('[http]\nprot = 1\n'))
  expect(code).toBe(2)
  expect(find(report, 'config')?.what).toContain('port')
  expect(find(report, 'redis')).toBeUndefined()
})

test('a Redis that evicts is not fit', async () => {
  const redis = await startRedis()
  const client = new Redis(redis.url)
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  client.disconnect()
  const { code, report } = await doctor('--config', config(anyPort), '--redis', redis.url)
  expect(code).toBe(2)
  expect(find(report, 'redis')?.mend).toContain('noeviction')
  await redis.stop()
})

test('a token that others can read, or that is short, is doubtful: exit 1', async () => {
  const redis = await startRedis()
  const tokenFile = join(folder, 'token')
  const asked = ['--config', config(anyPort), '--redis', redis.url, '--token-file', tokenFile]
  writeFileSync(tokenFile, 'a-token-of-some-length\n')
  chmodSync(tokenFile, 0o644)
  const readable = await doctor(...asked)
  expect([readable.code, find(readable.report, 'token')?.mend]).toEqual([
    1,
    `chmod 600 ${tokenFile}`,
  ])
  chmodSync(tokenFile, 0o600)
  writeFileSync(tokenFile, 'short\n')
  const short = await doctor(...asked)
  expect([short.code, find(short.report, 'token')?.status]).toEqual([1, 'warning'])
  await redis.stop()
})
