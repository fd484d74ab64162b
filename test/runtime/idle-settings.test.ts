import { describe, expect, test } from 'bun:test'
import { UsageError } from '../../actors/errors.ts'
import { loadConfig } from '../../config/load.ts'
import { refuseIdleSettings } from '../../runtime/idle-settings.ts'

const configOf = (fileValues: unknown) => loadConfig({ fileValues, env: {} }).config

describe('settings that nothing acts on', () => {
  test('are none by default, and none of those that are acted on', () => {
    expect(() => refuseIdleSettings(configOf({}))).not.toThrow()
    const acted = { dispatcher: { rate: 5 }, node: { labels: { rack: 'r1' } }, hosts: { web: {} } }
    expect(() => refuseIdleSettings(configOf(acted))).not.toThrow()
  })

  test('stop the start where something else would happen without them', () => {
    const store = configOf({ store: { url: 'postgres://127.0.0.1/muster' } })
    expect(() => refuseIdleSettings(store)).toThrow(UsageError)
  })
})
