import { describe, expect, test } from 'bun:test'
import { UsageError } from '../../actors/errors.ts'
import { loadConfig } from '../../config/load.ts'
import { idleSettings } from '../../runtime/idle-settings.ts'

const configOf = (fileValues: unknown) => loadConfig({ fileValues, env: {} }).config

describe('settings that nothing acts on', () => {
  test('are none by default, and none of those that are acted on', () => {
    expect(idleSettings(configOf({}))).toEqual([])
    const acted = { dispatcher: { rate: 5 }, log: { level: 'debug' }, escalation: { threshold: 7 } }
    expect(idleSettings(configOf(acted))).toEqual([])
  })

  test('are named when they are set', () => {
    const config = configOf({ node: { labels: { rack: 'r1' } }, hosts: { web: {} } })
    expect(idleSettings(config)).toEqual(['hosts', 'node.labels'])
  })

  test('stop the start where something else would happen without them', () => {
    const store = configOf({ store: { url: 'postgres://127.0.0.1/muster' } })
    expect(() => idleSettings(store)).toThrow(UsageError)
  })
})
