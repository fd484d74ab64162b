/** Several nodes with directories of their own: who has the results answers for them. */
import { afterEach, describe, expect, test } from 'bun:test'
import { startRedis } from '../kit/redis.ts'
import { noops, problemOf, type StartedNode, startNode } from './started-node.ts'

const cleanups: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** The first collects; the second dispatches, and has nothing stored. */
async function startTwo(): Promise<{ home: StartedNode; other: StartedNode }> {
  const redis = await startRedis()
  cleanups.push(() => redis.stop())
  const start = async (id: string, roles: ('dispatcher' | 'worker' | 'collector')[]) => {
    const started = await startNode({ node: { id, roles }, redis: { url: redis.url } })
    cleanups.push(() => started.node.stop())
    return started
  }
  const home = await start('keeper', ['dispatcher', 'worker', 'collector'])
  return { home, other: await start('asked', ['dispatcher']) }
}

describe('a node that does not have the results', () => {
  test('answers with those of the node that has them, page by page and as a stream', async () => {
    const { home, other } = await startTwo()
    const lines = `${noops(5)}{"kind":"fail","attempts":1,"input":{"message":"no"}}\n`
    const { id, counts } = await other.run(lines)
    expect(counts).toMatchObject({ ok: 5, failed: 1 })
    for (const path of [
      `/v1/runs/${id}/results`,
      `/v1/runs/${id}/results?outcome=failed&limit=1`,
      `/v1/runs/${id}/tasks/5`,
      `/v1/runs/${id}/tasks/99`,
    ]) {
      const [mine, theirs] = await Promise.all([home.ask(path), other.ask(path)])
      expect([theirs.status, await theirs.json()]).toEqual([mine.status, await mine.json()])
    }
    const headers = { accept: 'application/x-ndjson' }
    const stream = await other.ask(`/v1/runs/${id}/results`, { headers })
    expect((await stream.text()).trimEnd().split('\n')).toHaveLength(6)
    const again = await other.ask(`/v1/runs/${id}/retry`, { method: 'POST', body: '{}' })
    expect([again.status, ((await again.json()) as { accepted: number }).accepted]).toEqual([
      202, 1,
    ])
  })

  test('names that node when it is away', async () => {
    const { home, other } = await startTwo()
    const { id } = await other.run(noops(1))
    await home.node.stop()
    const problem = await problemOf(await other.ask(`/v1/runs/${id}/results`))
    expect(problem.status).toBe(503)
    expect(problem.detail).toMatch(/^the results are with node keeper, in .+ on .+; try again when/)
    expect((await other.ask(`/v1/runs/${id}`)).status).toBe(200)
  })
})
