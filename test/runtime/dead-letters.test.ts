import { expect, test } from 'bun:test'
import { createActor, createMachine } from 'xstate'
import { DeadLetters } from '../../actors/dead-letters.ts'
import { systemClock } from '../../runtime/clock.ts'
import { memoryWorld } from '../actors/world.ts'
import { bareApp } from './bare-app.ts'
import { startNode } from './started-node.ts'

test('GET /v1/deadletters shows what reached nobody, the newest first', async () => {
  const world = memoryWorld()
  const letters = new DeadLetters({ clock: { ...systemClock, now: () => 7000 }, log: world.log })
  const app = bareApp(world, letters)
  const ask = async () => (await app.request('/v1/deadletters')).json()
  expect(await ask()).toEqual({ items: [] })
  const actor = createActor(createMachine({}), { id: 'process-1:3' }).start()
  actor.stop()
  for (const type of ['process.beat', 'process.exited']) letters.tell(actor, { type })
  const letter = { scope: 'local', at: 7000, to: 'process-1:3', reason: 'stopped' }
  expect(await ask()).toEqual({
    items: [
      { ...letter, type: 'process.exited' },
      { ...letter, type: 'process.beat' },
    ],
  })
  await world.close()
})

test('a node that just works has none', async () => {
  const { node, ask, run } = await startNode({ ephemeral: true })
  await run('{"kind":"noop"}\n'.repeat(100))
  const answer = await ask('/v1/deadletters')
  expect([answer.status, await answer.json()]).toEqual([200, { items: [] }])
  await node.stop()
})
