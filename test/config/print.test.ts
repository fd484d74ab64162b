import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import { ConfigError } from '../../config/errors.ts'
import { knownKeys, sectionNames } from '../../config/known-key.ts'
import { loadConfig } from '../../config/load.ts'
import { initText, printConfig } from '../../config/print.ts'
import type { Config } from '../../config/schema.ts'
import { hidePassword } from '../../config/secret.ts'

function read(toml: string): Config {
  return loadConfig({ fileValues: Bun.TOML.parse(toml) }).config
}

const setting = /^# ([A-Za-z0-9]+ = .*)$/

describe('the file that init writes', () => {
  test('sets nothing as it is', () => {
    expect(read(initText())).toEqual(loadConfig({}).config)
  })

  test('is valid with every line uncommented, and then differs by its examples alone', () => {
    const uncommented = initText().replaceAll(new RegExp(setting, 'gm'), '$1')
    const { config } = loadConfig({ fileValues: Bun.TOML.parse(uncommented) })
    expect(config.redis.url).toBe('redis://127.0.0.1:6379')
    const { id: _id, ...node } = config.node
    const { url: _url, ...redis } = config.redis
    const { tokenFile: _tokenFile, ...http } = config.http
    const { url: _storeUrl, ...store } = config.store
    const {
      httpCaFile: _ca,
      containerProgram: _program,
      sshConfig: _ssh,
      ...worker
    } = config.worker
    expect({ ...config, node, redis, http, worker, store, limits: {}, hosts: {} }).toEqual(
      loadConfig({}).config,
    )
  })

  test('has every section, and every key with its default under one comment line', () => {
    const lines = initText().split('\n')
    for (const section of sectionNames) expect(lines).toContain(`[${section}]`)
    let section = ''
    const shown = lines.flatMap((line, index) => {
      section = /^\[(.+)\]$/.exec(line)?.[1] ?? section
      const name = setting.exec(line)?.[1]?.split(' ')[0]
      if (name === undefined || !knownKeys.has(`${section}.${name}`)) return []
      expect(lines[index - 1]).toMatch(/^# [A-Z].*\.$/)
      return [`${section}.${name}`]
    })
    expect(shown).toEqual([...knownKeys.keys()])
    expect(lines.filter((line) => line.length > 100)).toEqual([])
  })

  test('shows the cautious numbers of the dispatcher beside the defaults', () => {
    expect(initText()).toContain('# rate = 1000000  # cautious: 5000\n')
    expect(initText()).toContain('# burst = 100000  # cautious: 10000\n')
  })
})

describe('the configuration in force', () => {
  const secret = read(
    '[redis]\nurl = "redis://me:p@ss/word@host:6379/2"\n' +
      '[store]\nurl = "postgres://db/x?password=pw"\n',
  )

  test('hides passwords, in TOML and in JSON', () => {
    for (const text of [printConfig(secret), printConfig(secret, 'json')]) {
      expect(text).toContain('redis://me:***@host:6379/2')
      expect(text).toContain('postgres://db/x?password=***')
    }
  })

  test('is the same in JSON as in TOML', () => {
    const toml: unknown = Bun.TOML.parse(printConfig(secret))
    expect(JSON.parse(printConfig(secret, 'json'))).toEqual(toml)
  })

  test('is equal when it is read again', () => {
    fc.assert(
      fc.property(anyNumbers, anyConfig, (numbers, values) => {
        const config = takeWhatFits(numbers, values)
        const again = read(printConfig(config))
        expect(again).toEqual(config)
        expect(loadConfig({ fileValues: JSON.parse(printConfig(config, 'json')) }).config).toEqual(
          config,
        )
      }),
    )
  })
})

test.each([
  ['redis://:pw@h:1', 'redis://:***@h:1'],
  ['redis://pw@h:1', 'redis://***@h:1'],
  ['redis://u:a@b:c@h', 'redis://u:***@h'],
  ['redis-sentinel://u:p@a:1,b:2/name', 'redis-sentinel://u:***@a:1,b:2/name'],
  ['unix:///var/run/a@b/redis.sock', 'unix:///var/run/a@b/redis.sock'],
  ['redis://h:6379/1', 'redis://h:6379/1'],
  ['postgres://h/d?user=u&password=p&x=1', 'postgres://h/d?user=u&password=***&x=1'],
])('%s is shown as %s', (url, shown) => {
  expect(hidePassword(url)).toBe(shown)
})

type Tables = Record<string, Record<string, unknown>>

/** Numbers drawn apart from each other seldom agree; those that are refused are left out. */
function takeWhatFits(numbers: Record<string, unknown>, values: Tables): Config {
  const tables: Tables = structuredClone(values)
  for (const [path, value] of Object.entries(numbers)) {
    const [section = '', key = ''] = path.split('.')
    tables[section] = { [key]: value, ...tables[section] }
  }
  for (;;) {
    try {
      return loadConfig({ fileValues: tables }).config
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      for (const { path } of error.problems) {
        const [section = '', key = ''] = path.split('.')
        // Contradicted by a default: then it is another key of the section that is wrong.
        if (tables[section]?.[key] === undefined) delete tables[section]
        else delete tables[section][key]
      }
    }
  }
}

const anyNumbers = fc.record(
  Object.fromEntries(
    [...knownKeys]
      .filter(([, { facts }]) => facts.sort === 'number' || facts.sort === 'duration')
      .map(([path]) => [path, fc.oneof(fc.nat({ max: 200 }), fc.nat({ max: 100_000 }))]),
  ),
  { requiredKeys: [], noNullPrototype: true },
)

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/)
const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\p{Cc}\p{Cs}]/gu, ''))
const labels = fc.dictionary(name, line, { noNullPrototype: true })
const amount = fc.integer({ min: 1, max: 1_000_000 })

/** What is no plain number, valid in all its variety. */
const anyConfig = fc.record(
  {
    node: fc.record(
      {
        id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
        roles: fc.subarray(['dispatcher', 'worker', 'collector'], { minLength: 1 }),
        labels,
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
    redis: fc.record(
      {
        url: fc.constantFrom('redis://h:1', 'unix:///a b.sock'.replace(' ', '%20'), 'rediss://h'),
        durability: fc.constantFrom('everysec', 'always'),
        maxMemoryBytes: fc.constantFrom(0, 1_048_576, 2 ** 50),
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
    http: fc.record(
      {
        host: fc.constantFrom('0.0.0.0', '::1', 'fe80::1%eth0', 'host.example'),
        port: fc.nat({ max: 65_535 }),
        tokenFile: line.filter((text) => text !== ''),
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
    dispatcher: fc.record(
      {
        rate: amount,
        burst: amount,
        queueMax: amount,
        whenFull: fc.constantFrom('refuse', 'wait'),
      },
      { requiredKeys: [], noNullPrototype: true },
    ),
    mailbox: fc.record({ depthMax: amount }, { requiredKeys: [], noNullPrototype: true }),
    log: fc.record(
      { fileBytesMax: fc.integer({ min: 1024, max: 2 ** 40 }) },
      { requiredKeys: [], noNullPrototype: true },
    ),
    limits: fc.dictionary(
      fc.oneof(
        name,
        line.filter((text) => text !== '').map((text) => `source:${text}`),
      ),
      fc.record(
        {
          rate: fc.double({ min: 0.001, max: 1e9, noNaN: true }),
          burst: fc.double({ min: 1, max: 1e9, noNaN: true }),
        },
        { noNullPrototype: true },
      ),
      { noNullPrototype: true },
    ),
    hosts: fc.dictionary(
      name,
      fc.record(
        { address: fc.stringMatching(/^[!-,.-~][!-~]{0,30}$/), labels },
        { requiredKeys: [], noNullPrototype: true },
      ),
      { noNullPrototype: true },
    ),
  },
  { requiredKeys: [], noNullPrototype: true },
)
