import { describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  ConflictError,
  DataDirectoryError,
  NotAcceptingError,
  NotFoundError,
  TokenError,
  UnavailableError,
  UsageError,
} from '../../actors/errors.ts'
import { noCounts } from '../../machines/outcome.ts'
import { elapsed } from '../../runtime/cli/elapsed.ts'
import { exitCodeOfError, exitCodeOfRun } from '../../runtime/cli/exit.ts'
import { progressLine } from '../../runtime/cli/progress.ts'
import { ContentHash } from '../../runtime/cli/source.ts'
import { wantsColor } from '../../runtime/cli/terminal.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { bin, musterIn } from './cli-process.ts'

const folder = temporaryDirectory()
const muster = musterIn(folder)
const underNode = musterIn(folder, { program: ['node', bin] })

describe('the bin', () => {
  test('it runs by its name and under Node alike', async () => {
    const direct = await muster(['--version'])
    expect(direct).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^muster \d+\.\d+\.\d+\n$/),
    })
    expect(await underNode(['--version'])).toEqual(direct)
    expect(await underNode(['rnu'])).toMatchObject({ code: 64 })
  })

  test('without any Bun it says so in one line and exits 69', async () => {
    const lonely = join(folder, 'lonely')
    writeFileSync(lonely, await Bun.file(bin).text(), { mode: 0o755 })
    const { code, err } = await musterIn(folder, {
      program: ['/bin/sh', lonely],
      env: { PATH: '/bin:/usr/bin' },
    })([])
    expect(code).toBe(69)
    expect(err).toMatch(/^muster: found no Bun .*npm ci.*\n$/)
  })

  test('it finds its way without any program on the PATH, or says that it does not', async () => {
    const lonely = join(folder, 'lost')
    writeFileSync(lonely, await Bun.file(bin).text(), { mode: 0o755 })
    const child = musterIn(folder, { program: ['/bin/sh', lonely], env: { PATH: '/nowhere' } })
    const { err, code } = await child([])
    expect(code).toBe(69)
    expect(err).toContain('muster: found no Bun')
  })

  test('no verb shows the help and is a usage error', async () => {
    const { code, out, err } = await muster([])
    expect(code).toBe(64)
    expect(out).toBe('')
    expect(err).toContain('muster run tasks.ndjson')
  })

  test('--help of every verb goes to stdout and exits 0', async () => {
    const { out } = await muster(['--help'])
    const list = /\nCommands:\n([^]*?)\n\n/.exec(out)?.[1] ?? ''
    const verbs = [...list.matchAll(/^ {2}([a-z]+) /gm)].map((match) => match[1] ?? '')
    expect(verbs).toContain('run')
    for (const verb of verbs) {
      expect(await muster([verb, '--help'])).toMatchObject({
        code: 0,
        err: '',
        out: expect.stringContaining(`Usage: muster ${verb}`),
      })
    }
  })
})

describe('a command line nobody can follow exits 64 and says what to do', () => {
  test.each([
    [['rnu', 'x'], "unknown command 'rnu' (Did you mean run?)"],
    [['run', '--timout', '3s'], "unknown option '--timout' (Did you mean --timeout?)"],
    [['state', 'sett', 'X'], "unknown command 'sett' (Did you mean set?)"],
    [['escalations', 'show'], "unknown command 'show'; it is one of ack"],
    [['--jsn', 'ls'], "unknown option '--jsn' (Did you mean --json?)"],
    [['run', 'x', '--timeout', '3 days'], 'expected a duration like 500ms, 10s, 2m or 1h'],
    [['run'], 'expected a FILE of NDJSON tasks'],
    [['run', 'x', '--', 'uname'], 'expected a FILE or a command after --, got both'],
    [['run', '--'], 'expected a command after --'],
    [['ls', '--', 'uname'], 'only `run` takes a command after --'],
    [['show', 'r-1/x'], "expected RUN or RUN/SEQ, for example r-1a2b3c4d/0, got 'r-1/x'"],
    [['results', 'r-1', '--outcome', 'good'], "got 'good'"],
    [['results', 'r-1', '--fold', 'fuzzy'], 'Allowed choices are exact, similar, none'],
    [['start', '--port', '70000'], "expected a port, 0 to 65535, got '70000'"],
    [['ls', '--url', 'localhost:7070'], 'expected an http or https URL'],
  ])('%j', async (words, message) => {
    const { code, out, err } = await muster(words)
    expect(err).toContain(message)
    expect(err).toMatch(/^muster: .*\nsee: muster .*--help\n$/)
    expect({ code, out }).toEqual({ code: 64, out: '' })
  })
})

describe('what is not there', () => {
  test('a URL nobody listens on is named, exit 69', async () => {
    const { code, err } = await muster(['ls', '--url', 'http://127.0.0.1:1'])
    expect(code).toBe(69)
    expect(err).toMatch(/^muster: no node answers at http:\/\/127\.0\.0\.1:1: .*\n$/)
  })

  test('a variable nobody knows is a doubt, whatever the verb', async () => {
    const { code, err } = await musterIn(folder, { env: { MUSTER_URRL: 'x' } })(['watch', 'r-1'])
    expect(code).toBe(69)
    const doubt = 'MUSTER_URRL is ignored: no such variable is known; did you mean MUSTER_URL?'
    expect(err.split(doubt)).toHaveLength(2)
    const local = musterIn(folder, { env: { MUSTER_URRL: 'x' } })
    expect((await local(['ls'])).err.split(doubt)).toHaveLength(2)
  })

  test('watch without a node says how to get one, exit 69', async () => {
    const { code, err } = await muster(['watch', 'r-1'])
    expect(code).toBe(69)
    expect(err).toContain('muster start')
  })

  test('a node that would be open to the network without a token exits 77 at once', async () => {
    const { code, err } = await muster(['start', '--port', '0', '--host', '0.0.0.0', '--ephemeral'])
    expect([code, err]).toEqual([77, expect.stringContaining('0.0.0.0 is not a loopback address')])
    expect(err).not.toContain('a lease is held')
  })

  test('a token file that cannot be read exits 77', async () => {
    const { code, err } = await muster(['ls', '--token-file', 'nope'])
    expect(code).toBe(77)
    expect(err).toContain('cannot read the token file')
  })

  test('a stack is shown with --debug only', async () => {
    const words = ['ls', '--url', 'http://127.0.0.1:1']
    expect((await muster(words)).err).not.toContain('    at ')
    expect((await muster([...words, '--debug'])).err).toContain('UnavailableError')
  })
})

describe('configuration', () => {
  test('init writes a file that can be started with, and never overwrites one', async () => {
    const first = await muster(['init'])
    expect(first).toMatchObject({ code: 0, out: '' })
    expect(await muster(['start', '--print-config'])).toMatchObject({ code: 0, err: '' })
    const again = await muster(['init'])
    expect(again.code).toBe(73)
    expect(again.err).toMatch(/^muster: muster\.toml is there already .*--config\n$/)
    expect(await muster(['init', '--config', 'other.toml'])).toMatchObject({ code: 0 })
  })

  test('--print-config prints TOML that can be read again, and the same as JSON', async () => {
    const words = ['start', '--port', '0', '--redis', 'redis://u:secret@h:1', '--print-config']
    const toml = await muster(words)
    const json = await muster([...words, '--json'])
    expect(toml.out).not.toContain('secret')
    expect(JSON.parse(json.out)).toEqual(Bun.TOML.parse(toml.out))
    expect(JSON.parse(json.out)).toMatchObject({ http: { port: 0 } })
  })

  test('all problems come at once, exit 64', async () => {
    writeFileSync(join(folder, 'bad.toml'), '[http]\nprot = 1\n[worker]\nconcurrency = "x"\n')
    const { code, err } = await muster(['start', '--config', 'bad.toml'])
    expect(code).toBe(64)
    expect(err).toContain('did you mean http.port?')
    expect(err).toContain('worker.concurrency: expected')
  })

  test('a config file that is named has to be there', async () => {
    expect(await muster(['start', '--config', 'nope.toml'])).toMatchObject({ code: 66 })
    writeFileSync(join(folder, 'broken.toml'), '[http\n')
    const { code, err } = await muster(['start', '--config', 'broken.toml'])
    expect({ code, err }).toEqual({ code: 64, err: expect.stringContaining('not valid TOML') })
  })
})

describe('completion', () => {
  test.each(['bash', 'zsh', 'fish'])('%s gets a script with every verb', async (shell) => {
    const { code, out } = await muster(['completion', shell])
    expect(code).toBe(0)
    for (const verb of ['start', 'run', 'results']) expect(out).toContain(verb)
  })

  test('bash completes verbs and flags', async () => {
    const script = [
      'source <("$0" completion bash)',
      'COMP_WORDS=(muster re) COMP_CWORD=1; _muster; echo "${COMPREPLY[@]}"',
      'COMP_WORDS=(muster run --str) COMP_CWORD=2; _muster; echo "${COMPREPLY[@]}"',
    ].join('\n')
    const { out } = await musterIn(folder, { program: ['bash', '-c', script, bin] })([])
    expect(out).toBe('resume retry results\n--strict\n')
  })
})

describe('exit codes', () => {
  const run = { state: 'completed' as const, counts: { ...noCounts(), ok: 1 }, rejectedCount: 0 }

  test('halted outranks failed outranks unreached outranks ok', () => {
    const unreached = { ...run, counts: { ...run.counts, unreached: 1 } }
    const failed = { ...run, counts: { ...unreached.counts, failed: 1 } }
    expect(exitCodeOfRun(run)).toBe(0)
    expect(exitCodeOfRun(unreached)).toBe(3)
    expect(exitCodeOfRun(failed)).toBe(1)
    expect(exitCodeOfRun({ ...failed, state: 'halted' })).toBe(4)
  })

  test.each(['failed', 'timeout', 'dead', 'expired', 'cancelled'] as const)(
    'one %s task makes 1',
    (outcome) => {
      expect(exitCodeOfRun({ ...run, counts: { ...run.counts, [outcome]: 1 } })).toBe(1)
    },
  )

  test('a rejected line makes 1 even where every task is ok', () => {
    expect(exitCodeOfRun({ ...run, rejectedCount: 1 })).toBe(1)
  })

  test.each([
    [64, new UsageError('x')],
    [64, new ConflictError('x')],
    [65, new ConflictError('x', 'ILLEGAL_TRANSITION')],
    [66, new NotFoundError('x')],
    [69, new UnavailableError('x')],
    [70, new Error('x')],
    [73, new DataDirectoryError('x')],
    [75, new NotAcceptingError('full', 'x', 1)],
    [77, new TokenError('x')],
  ])('an error has its code: %i', (code, error) => {
    expect(exitCodeOfError(error)).toBe(code)
  })
})

describe('words for people', () => {
  test('lengths of time are written for people', () => {
    expect([480, 1234, 185_000, 7_800_000].map(elapsed)).toEqual([
      '480 ms',
      '1.2 s',
      '3 m 05 s',
      '2 h 10 m',
    ])
  })

  test('colours need a terminal and no objection', () => {
    expect(wantsColor(true, true, { TERM: 'xterm' })).toBe(true)
    expect(wantsColor(false, true, { TERM: 'xterm' })).toBe(false)
    expect(wantsColor(true, false, { TERM: 'xterm' })).toBe(false)
    expect(wantsColor(true, true, { TERM: 'dumb' })).toBe(false)
    expect(wantsColor(true, true, { TERM: 'xterm', NO_COLOR: '1' })).toBe(false)
  })

  test('progress fits the terminal', () => {
    const run = {
      id: 'r-00000001',
      state: 'running' as const,
      total: 150,
      counts: { ...noCounts(), ok: 118, failed: 1, timeout: 2, pending: 29 },
      rejectedCount: 0,
      rejected: [],
      createdAt: 0,
    }
    expect(progressLine(run, { rate: 84 }, 100)).toContain(
      '121/150  ok 118  failed 1  timeout 2  84/s  eta 345 ms',
    )
    for (const columns of [20, 40, 80, 200]) {
      expect(progressLine(run, { rate: 84 }, columns).length).toBeLessThan(columns)
    }
  })
})

describe('content hash', () => {
  const bytes = (text: string) => new TextEncoder().encode(text)
  function hashOf(...chunks: string[]): string {
    const hash = new ContentHash()
    for (const chunk of chunks) hash.update(bytes(chunk))
    return hash.digest()
  }
  const plain = hashOf('{"kind":"noop"}\n{"kind":"sleep"}\n')

  test('it is the SHA-256 of the lines, each ended by a newline', () => {
    expect(plain).toBe(
      new Bun.CryptoHasher('sha256').update('{"kind":"noop"}\n{"kind":"sleep"}\n').digest('hex'),
    )
  })

  test('blank lines and a missing last newline change nothing', () => {
    expect(hashOf('\n  \t\n{"kind":"noop"}\n\r\n{"kind":"sleep"}')).toBe(plain)
  })

  test('where the chunks are cut changes nothing', () => {
    const text = ' \n {"kind":"noop"}\n\n   {"kind":"sleep"}\n  '
    const whole = hashOf(text)
    for (let at = 0; at <= text.length; at += 1) {
      expect(hashOf(text.slice(0, at), text.slice(at))).toBe(whole)
    }
    expect(hashOf(...text.split(''))).toBe(whole)
  })

  test('white space inside a line counts', () => {
    expect(hashOf(' {"kind":"noop"}\n{"kind":"sleep"}\n')).not.toBe(plain)
  })
})
