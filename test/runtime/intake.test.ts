import { describe, expect, test } from 'bun:test'
import * as fc from 'fast-check'
import type { SourceLine, SourcePiece } from '../../actors/source.ts'
import { loadConfig } from '../../config/load.ts'
import { listSource, ndjsonSource } from '../../runtime/intake.ts'
import { kindsOf } from '../../runtime/kinds.ts'
import { lineBytesMax } from '../../runtime/lines.ts'
import { anything, late, shaped } from './intake-kinds.ts'

const { config } = loadConfig({ fileValues: {}, fileName: 'test', env: {} })
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const kinds = kindsOf([anything, shaped, late], config.worker, silent)

type Bytes = string | Uint8Array<ArrayBuffer>

async function* bytesOf(...pieces: Bytes[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    yield typeof piece === 'string' ? new TextEncoder().encode(piece) : piece
  }
}

interface Read {
  lines: number
  read: SourceLine[]
  pieces: number
}

async function readAll(
  stream: AsyncIterable<Uint8Array>,
  { afterLine = 0, lingerMs = 4 } = {},
): Promise<Read> {
  const all: Read = { lines: 0, read: [], pieces: 0 }
  for await (const piece of ndjsonSource(stream, { kinds, lingerMs })(afterLine)) {
    expect(piece.lines).toBeGreaterThanOrEqual(all.lines)
    all.lines = piece.lines
    all.read.push(...piece.read)
    all.pieces += 1
  }
  return all
}

/** What is said of one line: `path: message`, or what was accepted. */
async function verdict(line: Bytes): Promise<string> {
  const { read } = await readAll(bytesOf(line))
  const [only] = read
  expect(read).toHaveLength(1)
  if (only?.rejection !== undefined) {
    expect(only.rejection.line).toBe(1)
    return `${only.rejection.path}: ${only.rejection.message}`
  }
  return `ok ${JSON.stringify({ ...only?.accepted.task, kind: only?.accepted.kind })}`
}

const noop = '{"kind":"noop"}'

describe('a bad line is rejected with its path and what was expected', () => {
  const exec = (input: string) => `{"kind":"exec","input":${input}}`
  const broken = 'expected a JSON object, got broken JSON'

  test.each([
    ['an unknown kind', '{"kind":"nop"}', 'kind: expected a known kind', 'mean "noop"?'],
    [
      'a kind like no other',
      '{"kind":"zzzz"}',
      'kind: expected a known kind',
      'exec, http, container, noop, sleep',
    ],
    ['the kind __proto__', '{"kind":"__proto__"}', 'kind: expected a known kind', 'got'],
    ['no kind', '{}', 'kind: expected a string', 'got nothing'],
    ['half an object', '{"kind":', `: ${broken}`, 'EOF'],
    ['two objects', `${noop}${noop}`, `: ${broken}`, ''],
    ['no JSON', 'noop', `: ${broken}`, ''],
    ['an array', `[${noop}]`, ': expected a JSON object', 'got an array'],
    ['a number', '17', ': expected a JSON object', 'got the number 17'],
    ['null', 'null', ': expected a JSON object', 'got null'],
    ['a NUL byte', '{"kind":"no\0op"}', ': expected a JSON object', 'got a NUL byte'],
    ['NUL bytes alone', '\0\0\0', ': expected a JSON object', 'got a NUL byte'],
    [
      'a string for a number',
      '{"kind":"noop","timeoutMs":"3"}',
      'timeoutMs: expected a number',
      '',
    ],
    ['half a millisecond', '{"kind":"noop","delayMs":0.5}', 'delayMs: expected a whole', '0.5'],
    ['a number beyond all', '{"kind":"noop","timeoutMs":1e999}', 'timeoutMs:', 'number Infinity'],
    ['too many attempts', '{"kind":"noop","attempts":101}', 'attempts:', 'at most 100, got'],
    ['an empty id', '{"kind":"noop","id":""}', 'id: expected at least 1 character,', ''],
    ['no such priority', '{"kind":"noop","priority":"top"}', 'priority:', '"low", got the string'],
    [
      'an unknown field',
      '{"kind":"noop","tiemoutMs":3}',
      'tiemoutMs:',
      'did you mean "timeoutMs"?',
    ],
    ['the field __proto__', '{"kind":"noop","__proto__":{}}', '__proto__: expected only', 'got'],
    ['the label __proto__', '{"kind":"noop","labels":{"__proto__":"x"}}', 'labels.__proto__:', ''],
    ['a label that is no text', '{"kind":"noop","labels":{"a":1}}', 'labels.a: expected', 'got'],
    [
      'an unknown input field',
      exec('{"argv":["a"],"evn":{}}'),
      'input.evn:',
      'did you mean "env"?',
    ],
    ['an empty argv', exec('{"argv":[]}'), 'input.argv: expected a non-empty array', 'an empty'],
    ['argv as a string', exec('{"argv":"ls -l"}'), 'input.argv:', 'write ["ls","-l"]'],
    ['no argv', exec('{}'), 'input.argv: expected a non-empty array', 'got nothing'],
    ['a number in argv', exec('{"argv":["a",3]}'), 'input.argv.1: expected a string', 'number 3'],
    ['NUL in argv', exec('{"argv":["a\\u0000"]}'), 'input.argv.0: expected', 'NUL'],
    ['a bad variable', exec('{"argv":["a"],"env":{"A=B":""}}'), 'input.env.A=B:', 'string "A=B"'],
    ['input as an array', exec('[]'), 'input: expected an object', 'got an empty array'],
    ['null as input', '{"kind":"noop","input":null}', 'input: expected an object', 'got null'],
    ['input for noop', '{"kind":"noop","input":{"a":1}}', 'input.a: expected only known', 'got'],
    ['dependsOn as a string', '{"kind":"noop","dependsOn":"x"}', 'dependsOn: expected', 'got'],
    ['a check of a kind', '{"kind":"shaped","input":{"n":"1"}}', 'input.n: expected', 'string "1"'],
    ['neither', '{"kind":"shaped","input":{"n":1,"either":true}}', 'input.either:', 'or a number'],
    ['a format', '{"kind":"shaped","input":{"n":1,"email":"x"}}', 'input.email:', 'email address'],
    [
      'too long a list',
      '{"kind":"shaped","input":{"n":1,"list":["a","b"]}}',
      'input.list:',
      '1 elem',
    ],
    ['a check that cannot end', '{"kind":"late","input":"x"}', 'input: the check of kind', ''],
  ])('%s', async (_what, line, begins, has) => {
    const said = await verdict(line)
    expect(said.slice(0, begins.length)).toBe(begins)
    expect(said).toContain(has)
    expect(said).toMatch(/: (expected .+, got .|the check )/)
    expect(said.length).toBeLessThan(400)
  })

  test('invalid UTF-8', async () => {
    const line = new Uint8Array([...new TextEncoder().encode('{"kind":"'), 0xc3, 0x28, 0x22, 0x7d])
    expect(await verdict(line)).toBe(': expected UTF-8, got other bytes')
  })

  test('a value that is long is shown by its beginning', async () => {
    const said = await verdict(`{"kind":${JSON.stringify('n'.repeat(500))}}`)
    expect(said).toContain('nnn…')
  })

  test.each([501, 5000, 400_000])('%i levels of nesting', async (depth) => {
    const line = `{"kind":"anything","input":${'['.repeat(depth)}${']'.repeat(depth)}}`
    expect(await verdict(line)).toBe(': expected at most 500 levels of nesting, got more')
    const task = { kind: 'anything', input: JSON.parse('['.repeat(depth) + ']'.repeat(depth)) }
    const [piece] = await Array.fromAsync(listSource([task], kinds)(0))
    expect(piece?.read[0]?.rejection?.message).toContain('500 levels')
  })
})

describe('a good line is accepted', () => {
  test.each([
    [
      'nesting that can be written again',
      `{"kind":"anything","input":${'['.repeat(400)}${']'.repeat(400)}}`,
    ],
    ['a field of another shape in a kind that takes any', '{"kind":"anything","input":null}'],
    ['a byte order mark', `\ufeff${noop}`],
    ['a carriage return', `${noop}\r\n`],
    ['white space around it', ` \t${noop}  `],
    ['no newline at its end', noop],
    ['other scripts', '{"kind":"noop","id":"Prüfung 検査 🧪"}'],
  ])('%s', async (_what, line) => {
    expect(await verdict(line)).toStartWith('ok')
  })

  test('of a key that comes twice the last counts', async () => {
    const said = await verdict('{"kind":"noop","kind":"sleep","input":{"ms":1},"input":{"ms":2}}')
    expect(said).toBe('ok {"input":{"ms":2},"kind":"sleep"}')
  })

  test('keys of its input reach no prototype', async () => {
    const line = '{"kind":"anything","input":{"__proto__":{"polluted":1},"constructor":{}}}'
    expect(await verdict(line)).toContain('"__proto__":{"polluted":1}')
    expect({}).not.toHaveProperty('polluted')
  })
})

describe('lines', () => {
  test('blank lines are counted for people, and are no tasks', async () => {
    const { lines, read } = await readAll(bytesOf(`\n${noop}\n\n \t\r\n{}\n${noop}`))
    expect(lines).toBe(3)
    expect(read.map(({ line }) => line)).toEqual([2, 5, 6])
    expect(read.map(({ rejection }) => rejection?.line)).toEqual([undefined, 5, undefined])
  })

  test('nothing is no line', async () => {
    expect(await readAll(bytesOf())).toEqual({ lines: 0, read: [], pieces: 0 })
    expect(await readAll(bytesOf(''))).toMatchObject({ lines: 0, read: [] })
    expect(await readAll(bytesOf('\n\n'))).toMatchObject({ lines: 0, read: [] })
  })

  test('going on with a run does not depend on the blank lines before', async () => {
    const again = `\n\n${noop}\n\n${noop}\n\n{"kind":"noop","id":"third"}\n\n`
    const { lines, read } = await readAll(bytesOf(again), { afterLine: 2 })
    expect([lines, read.map(({ accepted }) => accepted?.task.id)]).toEqual([3, ['third']])
  })

  test('a line of 1 MiB is taken, one of a byte more is not, and the next one is', async () => {
    const padded = (bytes: number) => {
      const frame = '{"kind":"noop","id":"x"}'
      return frame.replace('}', `${' '.repeat(bytes - frame.length)}}`)
    }
    const text = `${padded(lineBytesMax)}\n${padded(lineBytesMax + 1)}\n${noop}\n`
    const { read } = await readAll(bytesOf(text))
    expect(read.map(({ rejection }) => rejection)).toEqual([
      undefined,
      { line: 2, path: '', message: 'expected a line of at most 1048576 bytes, got 1048577' },
      undefined,
    ])
  })

  test('reading goes on after a line', async () => {
    const text = Array.from({ length: 20_000 }, (_, seq) => `{"kind":"noop","id":"${seq}"}\n`).join(
      '',
    )
    const { lines, read } = await readAll(bytesOf(text), { afterLine: 12_345 })
    expect(lines).toBe(20_000)
    expect(read).toHaveLength(20_000 - 12_345)
    expect(read[0]?.accepted?.task.id).toBe('12345')
  })

  test('any split of the bytes gives the same lines', async () => {
    const line = fc.oneof(
      fc.constantFrom(noop, '', ' ', '\r', '{}', 'é🧪', '\ufeff{"kind":"noop"}', '\0', '17'),
      fc.json({ maxDepth: 2 }),
      fc
        .record({ kind: fc.constant('anything'), input: fc.jsonValue() })
        .map((x) => JSON.stringify(x)),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 12 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        fc.array(fc.nat({ max: 400 }), { maxLength: 30 }),
        async (parts, newline, ended, cuts) => {
          const bytes = new TextEncoder().encode(parts.join(newline) + (ended ? newline : ''))
          const points = [
            ...new Set([0, ...cuts.map((at) => at % (bytes.length + 1)), bytes.length]),
          ]
          const sorted = points.toSorted((a, b) => a - b)
          const pieces = sorted.slice(1).map((end, index) => bytes.slice(sorted[index], end))
          const whole = await readAll(bytesOf(bytes), { lingerMs: 0 })
          const split = await readAll(bytesOf(...pieces), { lingerMs: 0 })
          const singles = await readAll(bytesOf(...[...bytes].map((byte) => Uint8Array.of(byte))))
          expect({ ...split, pieces: 0 }).toEqual({ ...whole, pieces: 0 })
          expect({ ...singles, pieces: 0 }).toEqual({ ...whole, pieces: 0 })
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('a source', () => {
  test('that pauses gets its line through', async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    const writer = writable.getWriter()
    const source = ndjsonSource(readable, { kinds, lingerMs: 10 })(0)
    const pieces = source[Symbol.asyncIterator]()
    for (const expected of [1, 2]) {
      void writer.write(new TextEncoder().encode(`${noop}\n{"ki`))
      const { value } = (await pieces.next()) as IteratorResult<SourcePiece, undefined>
      expect(value?.lines).toBe(expected)
      void writer.write(new TextEncoder().encode('nd":"noop"}'))
    }
    void writer.close()
    expect((await pieces.next()).value).toMatchObject({ lines: 3 })
  })

  test('that trickles for ever does not keep its first line waiting', async () => {
    let timer: ReturnType<typeof setInterval> | undefined
    const trickle = new ReadableStream<Uint8Array>({
      start(controller) {
        timer = setInterval(() => controller.enqueue(new TextEncoder().encode(`${noop}\n`)), 1)
      },
      cancel: () => clearInterval(timer),
    })
    for await (const piece of ndjsonSource(trickle, { kinds, lingerMs: 20 })(0)) {
      expect(piece.lines).toBeWithin(1, 1000)
      break
    }
    clearInterval(timer)
  })

  test('of 100 MB in one line leaves no trace in memory', async () => {
    const block = new Uint8Array(65_536).fill(120)
    async function* stream() {
      for (let sent = 0; sent < 100 * 1024 * 1024; sent += block.length) yield block
      yield new TextEncoder().encode(`\n${noop}`)
    }
    Bun.gc(true)
    const before = process.memoryUsage.rss()
    let most = before
    async function* watched() {
      for await (const piece of stream()) {
        most = Math.max(most, process.memoryUsage.rss())
        yield piece
      }
    }
    const { read } = await readAll(watched())
    expect(read[0]?.rejection?.message).toContain(`got ${100 * 1024 * 1024}`)
    expect(read[1]?.accepted?.kind).toBe('noop')
    expect((most - before) / 1_048_576).toBeLessThan(64)
  })

  const endless = {
    'of short lines': `${noop}\n`.repeat(4096),
    'of long lines': `{"kind":"anything","input":"${'x'.repeat(900_000)}"}\n`,
    'of blank lines': '\n'.repeat(65_536),
    'of bad lines': 'x\n'.repeat(65_536),
  }
  test.each(Object.entries(endless))('%s without end is read piece by piece', async (_, text) => {
    const block = new TextEncoder().encode(text)
    let given = 0
    async function* stream() {
      for (;;) {
        given += block.length
        yield block
      }
    }
    let pieces = 0
    for await (const piece of ndjsonSource(stream(), { kinds, lingerMs: 1000 })(0)) {
      expect(piece.read.length > 0).toBe(text.trim() !== '')
      pieces += 1
      if (pieces === 3) break
    }
    expect(given).toBeLessThan(8 * 1_048_576)
  })

  test('that hands over everything at once is taken in bites', async () => {
    const text = `${noop}\n`.repeat(500_000)
    const { lines, read, pieces } = await readAll(bytesOf(text))
    expect([lines, read.length]).toEqual([500_000, 500_000])
    expect(pieces).toBeGreaterThan(100)
  })

  test('that fails passes its failure on', async () => {
    async function* stream() {
      yield new TextEncoder().encode(`${noop}\n`)
      throw new RangeError('the cable is cut')
    }
    expect(readAll(stream())).rejects.toThrow('the cable is cut')
  })

  test('that is left is told so', async () => {
    let left = false
    async function* stream() {
      try {
        for (;;) yield new TextEncoder().encode(`${noop}\n`)
      } finally {
        left = true
      }
    }
    for await (const piece of ndjsonSource(stream(), { kinds, lingerMs: 0 })(0)) {
      expect(piece.lines).toBe(1)
      break
    }
    expect(left).toBe(true)
  })
})

describe('a list of tasks', () => {
  test('is checked like lines, counted from 1', async () => {
    const tasks = [{ kind: 'noop' }, { kind: 'nop' }, null, { kind: 'sleep', input: { ms: 1 } }]
    const [piece] = await Array.fromAsync(listSource(tasks, kinds)(0))
    expect(piece?.lines).toBe(4)
    expect(piece?.read.map(({ rejection }) => rejection?.path)).toEqual([
      undefined,
      'kind',
      '',
      undefined,
    ])
    expect(piece?.read[2]?.rejection).toMatchObject({ line: 3 })
  })

  test('goes on after a line, and is over when nothing is left', async () => {
    const tasks = [
      { kind: 'noop', id: 'a' },
      { kind: 'noop', id: 'b' },
    ]
    const [piece] = await Array.fromAsync(listSource(tasks, kinds)(1))
    expect(piece?.read.map(({ accepted }) => accepted?.task.id)).toEqual(['b'])
    expect(await Array.fromAsync(listSource(tasks, kinds)(2))).toEqual([])
  })
})
