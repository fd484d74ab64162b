/** What the README shows of topics runs as it is there. */
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { createNode } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { muster, startMusterNode } from '../kit/muster.ts'
import { pager, tooHot, tuning } from './topics.ts'

const file = `${import.meta.dir}/topics.ts`

test('the README shows topics as they are in test/examples', () => {
  const readme = readFileSync(`${import.meta.dir}/../../README.md`, 'utf8')
  expect(readme).toContain(`\`\`\`ts\n${readFileSync(file, 'utf8')}\`\`\``)
})

test('readings that are too hot reach the pager as alarms', async () => {
  const alarms: unknown[] = []
  const watched = {
    ...pager,
    handle: (...[message, context]: Parameters<typeof pager.handle>) => {
      alarms.push(message.data)
      return pager.handle(message, context)
    },
  }
  const node = await createNode({
    subscriptions: [tooHot, watched, tuning],
    dataDir: temporaryDirectory(),
    ephemeral: true,
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  await node.publish('readings.web001', { host: 'web001', celsius: 41 })
  await node.publish('readings.web002', { host: 'web002', celsius: 93 })
  expect(await node.publish('control.rate', { perSecond: 5 })).toMatchObject({ listeners: 1 })
  await eventually(() => expect(alarms).toEqual([{ host: 'web002', celsius: 93 }]))
  await node.stop(0)
})

test('a node has them with --tasks, and shows them in its tree', async () => {
  const dataDir = temporaryDirectory()
  const node = await startMusterNode({ dataDir, words: ['--tasks', file] })
  const { out } = await muster(['tree', '--json'], { dataDir })
  for (const id of ['too-hot', 'pager', 'tuning']) expect(out).toContain(`"id":"${id}"`)
  expect((await node.kill('SIGTERM')).code).toBe(0)
})
