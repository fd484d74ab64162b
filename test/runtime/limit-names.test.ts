import { describe, expect, test } from 'bun:test'
import { UsageError } from '../../actors/errors.ts'
import { loadConfig } from '../../config/load.ts'
import { unknownLimits } from '../../runtime/limit-names.ts'
import { createNode } from '../../runtime/node.ts'
import { temporaryDirectory } from '../kit/directory.ts'

const kinds = new Map([
  ['exec', 1],
  ['greet', 2],
])
const limit = { rate: 1, burst: 1 }

describe('names of limits', () => {
  test('are known kinds, and sources of any label', () => {
    expect(unknownLimits({}, kinds)).toBeUndefined()
    expect(unknownLimits({ exec: limit, 'source:a b': limit }, kinds)).toBeUndefined()
  })

  test('that mean nothing are told with what was probably meant', () => {
    const trouble = unknownLimits({ exex: limit, exec: limit, source: limit }, kinds)
    expect(trouble).toStartWith('limits: expected the name of a kind, or "source:"')
    expect(trouble).toContain('got "exex" (did you mean "exec"?), "source"')
  })

  test('keep a node from starting when they mean nothing', async () => {
    const { config } = loadConfig({ fileValues: { limits: { greet: limit } } })
    const options = { config, dataDir: temporaryDirectory(), ephemeral: true, say: () => undefined }
    const node = createNode({ ...options, listen: true })
    const refusal = await node.start().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(refusal).toBeInstanceOf(UsageError)
    expect(String(refusal)).toContain('got "greet"')
    await node.stop()
  })

  test('are passed over, and told, by one that runs a single command', async () => {
    const { config } = loadConfig({ fileValues: { limits: { greet: limit } } })
    const said: string[] = []
    const say = (line: string) => void said.push(line)
    const node = createNode({ config, dataDir: temporaryDirectory(), ephemeral: true, say })
    await node.start()
    expect(said.filter((line) => line.includes('got "greet"'))).toHaveLength(1)
    await node.stop()
  })
})
