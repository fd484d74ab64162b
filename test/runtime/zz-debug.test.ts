import { expect, test } from 'bun:test'
import { Redis } from 'ioredis'
import { z } from 'zod'
import { defineTask } from '../../runtime/index.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { openBody, startNode } from './started-node.ts'
const count = defineTask({ kind: 'count', input: z.object({ name: z.string() }), profile: 'io', run: async () => {} })
const lines = (a: number, b: number) => Array.from({ length: b - a }, (_, i) => `{"kind":"count","input":{"name":"${a + i}"}}\n`).join('')
test('debug', async () => {
  const redis = await startRedis()
  const start = (id: string) => startNode({ redis: { url: redis.url }, tasks: [count], node: { id }, dispatcher: { queueMax: 10 }, log: { level: 'warn' } })
  const [one, two] = [await start('one'), await start('two')]
  const client = new Redis(redis.path)
  const dump = async (run: string, why: string) => {
    console.log(why, await client.hgetall(`muster:{s0}:run:${run}`), await client.lrange(`muster:{s0}:run:${run}:spool`, 0, -1).then((l) => l.map((e) => JSON.stringify(JSON.parse(e).seqs))), await client.hgetall(`muster:{s0}:room`), await client.keys('*mailbox*'))
  }
  let run = ''
  try {
    for (let round = 0; round < 12; round += 1) {
      const first = openBody()
      const left = new AbortController()
      first.give(lines(0, 600))
      const headers = { 'content-type': 'application/x-ndjson', 'idempotency-key': `k${round}` }
      const r = await fetch(`${one.url}/v1/runs`, { method: 'POST', body: first.body, headers, signal: left.signal })
      run = r.headers.get('location')?.split('/').at(-1) ?? ''
      try { await eventually(async () => expect((await one.get(run)).total).toBe(600)) } catch (e) { await dump(run, 'TOTAL'); throw e }
      left.abort()
      const again = await Promise.race([two.submit(lines(0, 700), { 'idempotency-key': `k${round}` }), Bun.sleep(5000)])
      if (again === undefined) { await dump(run, 'NO ANSWER'); throw new Error('x') }
      const text = await Promise.race([again.text(), Bun.sleep(5000)])
      if (text === undefined) { await dump(run, 'NO TEXT'); throw new Error('x') }
      const ev = await Promise.race([two.ask(`/v1/runs/${run}/events`).then((r) => r.text()), Bun.sleep(8000)])
      if (ev === undefined) { await dump(run, 'NO EVENTS END'); throw new Error('x') }
      try {
        await eventually(async () => expect((await one.get(run)).state).toBe('completed'), { timeoutMs: 5000 })
      } catch {
        await dump(run, 'HANG')
        throw new Error('hang')
      }
    }
  } finally {
    client.disconnect()
    await one.node.stop(0)
    await two.node.stop(0)
    await redis.stop()
  }
}, 55_000)
