import { describe, expect, test } from 'bun:test'
import type { ConfigProblem } from '../../config/errors.ts'
import { ConfigError } from '../../config/errors.ts'
import type { ConfigSources } from '../../config/load.ts'
import { loadConfig } from '../../config/load.ts'

function config(sources: ConfigSources) {
  return loadConfig(sources).config
}

function refusal(sources: ConfigSources): ConfigError {
  try {
    loadConfig(sources)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('expected a ConfigError, but the configuration was taken')
}

/** The only problem there is. */
function problem(sources: ConfigSources): ConfigProblem {
  const { problems, message } = refusal(sources)
  expect([problems.length, message]).toEqual([1, message])
  return problems[0]!
}

function file(toml: string): ConfigSources {
  return { fileValues: Bun.TOML.parse(toml) }
}

describe('defaults', () => {
  test('without any source they are those of the contract', () => {
    const { dispatcher, worker, mailbox, lease, member, escalation, log, http, node } = config({})
    expect(dispatcher).toMatchObject({ rate: 1_000_000, burst: 100_000, queueMax: 20_000 })
    expect(worker).toMatchObject({ concurrency: 64, attempts: 6, retryBaseMs: 500 })
    expect(mailbox).toMatchObject({ depthMax: 200_000, lockMs: 15_000, stalledIntervalMs: 5000 })
    expect(lease).toEqual({ ttlMs: 10_000, renewMs: 3333, operationTimeoutMs: 1000 })
    expect(member).toMatchObject({ heartbeatMs: 10_000, staleMs: 30_000, probeMs: 30_000 })
    expect(member).toMatchObject({ probeTimeoutMs: 2500, probeFailures: 3 })
    expect(escalation).toEqual({ windowMs: 60_000, buckets: 12, threshold: 500 })
    expect(log).toMatchObject({ queueMax: 100_000, flushMs: 500, flushBytes: 4_194_304 })
    expect(log).toMatchObject({ fileBytesMax: 104_857_600, filesMax: 10 })
    expect(http).toMatchObject({ host: '127.0.0.1', port: 7070 })
    expect(node).toEqual({ roles: ['dispatcher', 'worker', 'collector'], labels: {} })
  })

  test('a configuration is frozen all the way down', () => {
    const loaded = config(file('[hosts.web1.labels]\nrole = "web"'))
    const labels = loaded.hosts['web1']?.labels as Record<string, string>
    expect(() => (labels['role'] = 'db')).toThrow(TypeError)
    expect(() => (loaded.node.roles as string[]).push('other')).toThrow(TypeError)
    expect(Object.isFrozen(loaded)).toBe(true)
  })

  test('what travels together shrinks with what it has to fit into, unless it is set', () => {
    expect(config(file('[mailbox]\ndepthMax = 10')).worker.envelopeTasksMax).toBe(10)
    expect(config(file('[log]\nfileBytesMax = 2048')).log.flushBytes).toBe(2048)
    const set = file('[mailbox]\ndepthMax = 10\n[worker]\nenvelopeTasksMax = 1000')
    expect(problem(set)).toMatchObject({ path: 'worker.envelopeTasksMax', found: '1000' })
  })
})

describe('precedence', () => {
  const fileValues = { http: { port: 1 }, worker: { concurrency: 1 }, lease: { ttlMs: '20s' } }
  const env = { MUSTER_HTTP_PORT: '2', MUSTER_WORKER_CONCURRENCY: '2' }

  test('a flag goes before the environment, that before the file, that before the default', () => {
    const loaded = config({ fileValues, env, flags: { 'http.port': '3' } })
    expect(loaded.http.port).toBe(3)
    expect(loaded.worker.concurrency).toBe(2)
    expect(loaded.lease.ttlMs).toBe(20_000)
    expect(loaded.lease.renewMs).toBe(3333)
  })

  test('a flag that is undefined is not given', () => {
    expect(config({ env, flags: { 'http.port': undefined } }).http.port).toBe(2)
  })

  test('a wrong value is a problem even where another source overrules it', () => {
    const sources = { fileValues: { http: { port: 'x' } }, flags: { 'http.port': 3 } }
    expect(problem(sources)).toMatchObject({ path: 'http.port', source: 'muster.toml' })
  })
})

describe('durations', () => {
  test('the file takes milliseconds or text with a unit', () => {
    const loaded = config(file('[member]\nheartbeatMs = "2s"\nstaleMs = 60000'))
    expect(loaded.member).toMatchObject({ heartbeatMs: 2000, staleMs: 60_000 })
  })

  test('other numbers do not take text in the file', () => {
    expect(problem(file('[dispatcher]\nqueueMax = "10s"'))).toMatchObject({ found: '"10s"' })
    expect(problem(file('[dispatcher]\nqueueMax = "100"'))).toMatchObject({ found: '"100"' })
  })
})

describe('environment', () => {
  test.each([
    'MUSTER_DISPATCHER_QUEUE_MAX',
    'MUSTER_DISPATCHER_QUEUEMAX',
    'muster_dispatcher_queuemax',
    'MUSTER_DISPATCHER_QueueMax',
  ])('%s sets dispatcher.queueMax', (variable) => {
    const loaded = loadConfig({ env: { [variable]: '5_000' } })
    expect([loaded.config.dispatcher.queueMax, loaded.warnings]).toEqual([5000, []])
  })

  test('a value is read as its key takes it', () => {
    const loaded = config({
      env: {
        MUSTER_MAILBOX_LOCK_MS: '20s',
        MUSTER_MAILBOX_STALLED_INTERVAL_MS: '4000',
        MUSTER_NODE_ROLES: 'worker, collector',
        MUSTER_NODE_LABELS: 'rack=r1,expr=a=b',
        MUSTER_REDIS_URL: 'redis://10.0.0.1:6379',
        MUSTER_REDIS_DURABILITY: 'always',
      },
    })
    expect(loaded.mailbox).toMatchObject({ lockMs: 20_000, stalledIntervalMs: 4000 })
    expect(loaded.node).toEqual({
      roles: ['worker', 'collector'],
      labels: { rack: 'r1', expr: 'a=b' },
    })
    expect(loaded.redis).toMatchObject({ url: 'redis://10.0.0.1:6379', durability: 'always' })
  })

  test('a problem names the variable', () => {
    expect(problem({ env: { MUSTER_HTTP_PORT: 'many' } })).toEqual({
      path: 'http.port',
      expected: 'a whole number from 0 to 65535',
      found: '"many"',
      source: 'environment variable MUSTER_HTTP_PORT',
    })
    expect(problem({ env: { MUSTER_NODE_ROLES: ',' } }).path).toBe('node.roles')
    expect(problem({ env: { MUSTER_NODE_LABELS: 'rack' } }).found).toBe('"rack"')
  })

  test('an unknown variable is a warning with the nearest known one', () => {
    const env = {
      MUSTER_DISPATCHER_QUEUE_MXA: '1',
      MUSTER_TOKENFILE: 'x',
      MUSTER_: '1',
      MUSTER_HOSTS_WEB1_ADDRESS: 'x',
    }
    expect(loadConfig({ env }).warnings).toEqual([
      'MUSTER_DISPATCHER_QUEUE_MXA is ignored: no such variable is known; ' +
        'did you mean MUSTER_DISPATCHER_QUEUE_MAX?',
      'MUSTER_TOKENFILE is ignored: no such variable is known; did you mean MUSTER_TOKEN_FILE?',
      'MUSTER_ is ignored: no such variable is known',
      'MUSTER_HOSTS_WEB1_ADDRESS is ignored: [hosts] has names of yours and is set in the ' +
        'file only',
    ])
  })

  test('variables with a meaning of their own, strangers and empty ones are silent', () => {
    const own = ['URL', 'DATA', 'CONFIG', 'NO_INSTALL', 'RUN', 'SEQ']
    const env = Object.fromEntries(own.map((name) => [`MUSTER_${name}`, 'x']))
    const others = { PATH: '/bin', MUSTERED_X: '1', MUSTER_HTTP_PORT: '', MUSTER_BOGUS: undefined }
    expect(loadConfig({ env: { ...env, ...others } })).toEqual(loadConfig({}))
  })

  test("MUSTER_TOKEN_FILE is the node's token too, after the variable of that very key", () => {
    const env = { MUSTER_TOKEN_FILE: 'a' }
    expect(config({ env }).http.tokenFile).toBe('a')
    expect(config({ env: { ...env, MUSTER_HTTP_TOKEN_FILE: 'b' } }).http.tokenFile).toBe('b')
  })

  test('two spellings of one variable must agree', () => {
    const env = { MUSTER_LOG_FLUSH_MS: '1s', MUSTER_LOG_FLUSHMS: '2s' }
    expect(problem({ env })).toMatchObject({ path: 'log.flushMs', found: '"1s" and "2s"' })
    expect(config({ env: { ...env, MUSTER_LOG_FLUSHMS: '1s' } }).log.flushMs).toBe(1000)
  })
})

describe('problems', () => {
  test('all of them are told at once, each on a line of its own', () => {
    const error = refusal({
      fileName: 'site.toml',
      fileValues: Bun.TOML.parse(
        [
          '[dispacher]\nrate = 1',
          '[dispatcher]\nquueMax = 5\nburst = 0.5',
          '[lease]\nrenewMs = "9s"',
          '[worker]\nattempts = true',
        ].join('\n'),
      ),
      env: { MUSTER_LOG_LEVEL: 'loud' },
      flags: { 'http.port': '70000' },
    })
    expect(error.code).toBe('CONFIG')
    expect(error.message.split('\n')).toEqual([
      'The configuration has 7 problems:',
      '  dispacher: expected a section, one of node, redis, http, dispatcher, worker, mailbox, ' +
        'collector, lease, member, health, escalation, log, store, limits, hosts, found ' +
        '"dispacher" (site.toml); did you mean dispatcher?',
      '  dispatcher.quueMax: expected a key of [dispatcher], found "quueMax" (site.toml); ' +
        'did you mean dispatcher.queueMax?',
      '  dispatcher.burst: expected a whole number from 1 to 1000000000, found 0.5 (site.toml)',
      '  worker.attempts: expected a whole number from 1 to 100, found true (site.toml)',
      '  log.level: expected one of "debug", "info", "warn", "error", found "loud" ' +
        '(environment variable MUSTER_LOG_LEVEL)',
      '  http.port: expected a whole number from 0 to 65535, found 70000 (flag --port)',
      '  lease.renewMs: expected less than 5/9 of lease.ttlMs (10000), a third at best, so that ' +
        'late is in time, found 9000 (site.toml; lease.ttlMs from default)',
    ])
  })

  test.each([
    ['[mailbox]\nlockMS = 1', 'mailbox.lockMs'],
    ['[mailbox]\nstalled_interval_ms = 1', 'mailbox.stalledIntervalMs'],
    ['[mailbox]\nqueueMax = 1', 'dispatcher.queueMax'],
    ['[http]\nheartbeat = 1', 'member.heartbeatMs'],
    ['port = 1', 'http.port'],
    ['[workers]', 'worker'],
    ['[hosts.web1]\nadress = "x"', 'hosts.web1.address'],
    ['[limits.exec]\nrate = 1\nburst = 1\nbrust = 1', 'limits.exec.burst'],
    ['[health]\nfrobnicate = 1', undefined],
    ['[constructor]', undefined],
    ['[http]\ntoString = 1', undefined],
  ])('after %j the nearest key is %p', (toml, meant) => {
    expect(problem(file(toml)).nearest).toBe(meant)
  })

  test.each([
    ['http = 5', 'http', '5'],
    ['[http]\nport = 1.5', 'http.port', '1.5'],
    ['[http]\nport = inf', 'http.port', 'Infinity'],
    ['[http]\nport = 2024-01-01', 'http.port', '"2024-01-01"'],
    ['[lease]\nttlMs = "10 s"', 'lease.ttlMs', '"10 s"'],
    ['[node]\nroles = ["worker", "worker"]', 'node.roles', '["worker","worker"]'],
    ['[node]\nroles = []', 'node.roles', '[]'],
    ['[node]\nlabels = { rack = 5 }', 'node.labels', '{"rack":5}'],
    ['[node]\nid = "a/b"', 'node.id', '"a/b"'],
    ['[redis]\nmaxMemoryBytes = 5', 'redis.maxMemoryBytes', '5'],
    ['[redis]\nurl = "localhost"', 'redis.url', '"localhost"'],
    ['[hosts]\nweb1 = "10.0.0.1"', 'hosts.web1', '"10.0.0.1"'],
    ['[hosts."a b"]', 'hosts."a b"', '"a b"'],
    ['[hosts.__proto__]', 'hosts.__proto__', '"__proto__"'],
    ['[hosts.web1]\naddress = "-oProxyCommand=x"', 'hosts.web1.address', '"-oProxyCommand=x"'],
    ['[limits.exec]\nrate = 1', 'limits.exec.burst', 'nothing'],
    ['[limits."a.b"]\nrate = 0\nburst = 1', 'limits."a.b".rate', '0'],
    ['[limits."source:"]', 'limits."source:"', '"source:"'],
    ['[limits."sources:a"]', 'limits."sources:a"', '"sources:a"'],
  ])('%j is refused', (toml, path, found) => {
    expect(problem(file(toml))).toMatchObject({ path, found })
  })

  test('a file that is no table is refused', () => {
    expect(problem({ fileValues: [1] })).toMatchObject({ path: '(all)', found: '[1]' })
  })

  test('no message shows a password', () => {
    const shown = [
      refusal(file('[redis]\nurl = "http://me:hunter2@host"')),
      refusal(file('[redis]\nurl = "me:hunter2@host:6379"')),
      refusal(file('redis = "redis://:hunter2@host"')),
      refusal(file('[redis]\npassword = "hunter2"')),
      refusal({ env: { MUSTER_STORE_URL: 'host=db password=hunter2' } }),
      refusal({ env: { MUSTER_REDIS_URL: 'redis://:hunter2@a', MUSTER_REDIS_U_RL: 'redis://b' } }),
    ].map((error) => error.message)
    expect(shown.filter((message) => message.includes('hunter2'))).toEqual([])
  })
})

describe('contradictions', () => {
  test.each([
    ['[lease]\nttlMs = 5000', 'lease.renewMs', 'default; lease.ttlMs from muster.toml'],
    ['[lease]\noperationTimeoutMs = "4s"', 'lease.operationTimeoutMs', undefined],
    ['[member]\nheartbeatMs = 15001', 'member.heartbeatMs', undefined],
    ['[mailbox]\nlockMs = 4999', 'mailbox.stalledIntervalMs', undefined],
    ['[worker]\ncommandHardKillMs = "29s"', 'worker.commandSoftKillMs', undefined],
    ['[worker]\nretryCapMs = 499', 'worker.retryBaseMs', undefined],
    [
      '[worker]\nenvelopeTasksMax = 6\n[dispatcher]\nqueueMax = 5',
      'worker.envelopeTasksMax',
      undefined,
    ],
    ['[log]\nflushBytes = 2000\nfileBytesMax = 1999', 'log.flushBytes', 'muster.toml'],
    ['[escalation]\nbuckets = 7', 'escalation.windowMs', undefined],
  ])('%j is refused', (toml, path, source) => {
    const found = problem(file(toml))
    expect(found.path).toBe(path)
    if (source !== undefined) expect(found.source).toBe(source)
  })

  test('a rule whose other value is broken says nothing', () => {
    expect(problem(file('[lease]\nttlMs = "soon"\nrenewMs = "9s"')).path).toBe('lease.ttlMs')
  })

  test('values on the edge are taken', () => {
    const toml = '[member]\nheartbeatMs = 15000\n[mailbox]\nlockMs = 5000\n[lease]\nrenewMs = 5555'
    expect(config(file(toml)).lease.renewMs).toBe(5555)
    expect(problem(file('[lease]\nrenewMs = 5556')).path).toBe('lease.renewMs')
  })
})
