/** What every baseline store keeps to. */
import { describe, expect, test } from 'bun:test'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { baselineFile } from '../../runtime/baseline-file.ts'
import { memoryBaseline } from '../../runtime/memory/baseline.ts'
import { temporaryDirectory } from '../kit/directory.ts'

describe.each([
  ['in memory', () => memoryBaseline()],
  ['in the data directory', () => baselineFile(temporaryDirectory(), 'node-1')],
])('a baseline store %s', (_, make) => {
  test('has nothing at first, then what was last saved', async () => {
    const store = make()
    expect(await store.load()).toBeUndefined()
    await store.save({ version: 1, metrics: { redisMs: [1, 2] } })
    await store.save({ version: 1, metrics: { redisMs: [3, 4] } })
    expect(await store.load()).toEqual({ version: 1, metrics: { redisMs: [3, 4] } })
  })

  test('keeps what it was given, not what became of it', async () => {
    const store = make()
    const given = { numbers: [1] }
    await store.save(given)
    given.numbers.push(2)
    expect(await store.load()).toEqual({ numbers: [1] })
  })
})

describe('a baseline file', () => {
  test('is of one node, and outlives it', async () => {
    const dataDir = temporaryDirectory()
    await baselineFile(dataDir, 'a').save('of a')
    expect(await baselineFile(dataDir, 'b').load()).toBeUndefined()
    expect(await baselineFile(dataDir, 'a').load()).toBe('of a')
    expect(readdirSync(join(dataDir, 'baseline'))).toEqual(['a.json'])
  })

  test('that is half a file is none', async () => {
    const dataDir = temporaryDirectory()
    mkdirSync(join(dataDir, 'baseline'))
    writeFileSync(join(dataDir, 'baseline', 'a.json'), '{"version":1,"metr')
    expect(await baselineFile(dataDir, 'a').load()).toBeUndefined()
  })
})
