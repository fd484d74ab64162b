import { describe, expect, test } from 'bun:test'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { NotFoundError, UsageError } from '../../actors/errors.ts'
import { defineTask } from '../../actors/kind.ts'
import { loadConfig } from '../../config/load.ts'
import { createNode } from '../../runtime/index.ts'
import { kindsOf } from '../../runtime/kinds.ts'
import { readTasksFile } from '../../runtime/tasks-file.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import type { Answer } from './started-node.ts'

const { config } = loadConfig({ fileValues: {}, fileName: 'test', env: {} })
const silent = { debug() {}, info() {}, warn() {}, error() {} }
/** Outside of any package: nothing of node_modules can be seen from here. */
const folder = temporaryDirectory()

function write(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

function module(name: string, text: string): string {
  const imports = "import { defineTask, TerminalError } from 'muster'\nimport { z } from 'zod'\n"
  return write(name, imports + text)
}

async function namesIn(file: string): Promise<string[]> {
  return (await readTasksFile(file)).tasks.map(({ kind }) => kind)
}

/** What it failed with. */
async function failureOf(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('expected a failure, got none')
}

const define = (kind: string) => `defineTask({ kind: '${kind}', input: z.object({}), run() {} })`

describe('a task file', () => {
  test('may lie outside of any package and import muster and zod', async () => {
    const file = module('outside.ts', `void TerminalError\nexport default ${define('outside')}`)
    expect(await namesIn(file)).toEqual(['outside'])
  })

  test('may export one by default, a list, or some by name', async () => {
    const list = module('list.ts', `export default [${define('a')}, ${define('b')}]`)
    expect(await namesIn(list)).toEqual(['a', 'b'])
    const named = module(
      'named.ts',
      `export const x = ${define('x')}\nexport const y = ${define('y')}`,
    )
    expect(await namesIn(named)).toEqual(['x', 'y'])
    const mixed = module(
      'mixed.ts',
      `export const one = ${define('one')}\nexport const more = [5, ${define('two')}]`,
    )
    expect((await namesIn(mixed)).toSorted()).toEqual(['one', 'two'])
  })

  test('that exports one task twice defines it once', async () => {
    const file = module('twice.ts', `export const a = ${define('a')}\nexport default a`)
    expect(await namesIn(file)).toEqual(['a'])
  })

  test('may import its neighbours', async () => {
    module('neighbour.ts', `export const near = ${define('near')}`)
    const file = write('importer.ts', "export { near } from './neighbour.ts'")
    expect(await namesIn(file)).toEqual(['near'])
  })

  test('is found from the working directory', async () => {
    module('relative.ts', `export default ${define('relative')}`)
    const path = join('..', '..', '..', '..', '..', folder, 'relative.ts')
    expect(await namesIn(path)).toEqual(['relative'])
  })

  test.each([
    ['nothing', 'export {}'],
    ['a function', 'export default () => 1'],
    ['half a task', "export default { kind: 'half' }"],
    ['null', 'export default null'],
  ])('with %s in it defines no task', async (what, text) => {
    const failure = await failureOf(readTasksFile(write(`${what.replaceAll(' ', '-')}.ts`, text)))
    expect(failure).toBeInstanceOf(UsageError)
    expect(failure.message).toContain('defines no task: export defineTask(')
  })

  test.each([
    ['syntax.ts', 'export const = 5', /loaded: .*syntax\.ts:1:14: Expected identifier/],
    ['throws.ts', "throw new Error('not today')", /throws\.ts cannot be loaded: not today/],
    ['text.ts', "throw 'only text'", /text\.ts cannot be loaded: only text/],
    ['import.ts', "import 'no-such-package'", /import\.ts cannot be loaded: .*no-such-package/],
  ])('%s that cannot be loaded says why', async (name, text, says) => {
    const failure = await failureOf(readTasksFile(write(name, text)))
    expect(failure).toBeInstanceOf(UsageError)
    expect(failure.message).toMatch(says)
  })

  test('with a bad definition says which', async () => {
    const name = module('name.ts', `export default ${define('no blanks')}`)
    expect((await failureOf(readTasksFile(name))).message).toContain('got "no blanks"')
    const number = module(
      'number.ts',
      "export default defineTask({ kind: 'n', input: z.any(), attempts: 0, run() {} })",
    )
    expect((await failureOf(readTasksFile(number))).message).toContain('attempts: expected')
  })

  test('that is not there, or is a directory, is not found', async () => {
    expect(await failureOf(readTasksFile(join(folder, 'nowhere.ts')))).toBeInstanceOf(NotFoundError)
    mkdirSync(join(folder, 'directory'))
    expect(await failureOf(readTasksFile(join(folder, 'directory')))).toBeInstanceOf(NotFoundError)
  })

  test('makes its kinds known to a node', async () => {
    const file = module(
      'greet.ts',
      "export default defineTask({ kind: 'greet', input: z.object({ name: z.string() }),\n" +
        "  run({ name }) { if (name === 'nobody') throw new TerminalError('nobody is there')\n" +
        '    return `hello ${name}` } })',
    )
    const node = await createNode({ ephemeral: true, listen: false, tasksFiles: [file] })
    await node.start()
    try {
      const lines =
        '{"kind":"greet","input":{"name":"you"}}\n{"kind":"greet","input":{"name":"nobody"}}\n' +
        '{"kind":"greet","input":{"nam":"you"}}\n'
      const answer = await node.fetch(
        new Request('http://muster/v1/runs', {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson' },
          body: lines,
        }),
      )
      const { run, accepted, rejected } = (await answer.json()) as Answer
      expect({ accepted, rejected }).toEqual({
        accepted: 2,
        rejected: [{ line: 3, path: 'input.name', message: 'expected a string, got nothing' }],
      })
      // Its events end with the run.
      await (await node.fetch(new Request(`http://muster/v1/runs/${run}/events`))).text()
      const results = await node.fetch(new Request(`http://muster/v1/runs/${run}/results`))
      const { items } = (await results.json()) as { items: Record<string, unknown>[] }
      expect(items).toMatchObject([
        { outcome: 'ok', output: 'hello you', attempt: 1 },
        { outcome: 'failed', attempt: 1, error: { message: 'nobody is there' } },
      ])
    } finally {
      await node.stop()
    }
  })
})

describe('the kinds of a node', () => {
  const task = (kind: string) => defineTask({ kind, input: z.unknown(), run() {} })

  test('are the built-in ones and those that were added', () => {
    const kinds = kindsOf([task('mine')], config.worker, silent)
    const builtIn = ['container', 'exec', 'fail', 'http', 'noop', 'sleep']
    expect([...kinds.keys()].toSorted()).toEqual([...builtIn, 'mine'].toSorted())
  })

  test.each(['noop', 'exec'])('a built-in name (%s) cannot be taken', (kind) => {
    expect(() => kindsOf([task(kind)], config.worker, silent)).toThrow(
      `task kind "${kind}" is defined twice`,
    )
  })

  test('two with one name are refused', () => {
    const two = [task('mine'), task('mine')]
    expect(() => kindsOf(two, config.worker, silent)).toThrow('give one of them another name')
  })

  test('a name that no mailbox can have is refused', () => {
    const plain = { ...task('mine'), kind: 'a~b' }
    expect(() => kindsOf([plain], config.worker, silent)).toThrow('got "a~b"')
  })

  test('take attempts and concurrency from definition and configuration', () => {
    const eager = defineTask({ kind: 'eager', input: z.unknown(), attempts: 2, run() {} })
    const heavy = defineTask({ kind: 'heavy', input: z.unknown(), profile: 'cpu', run() {} })
    const worker = { ...config.worker, commandConcurrency: 3, concurrency: 9, attempts: 4 }
    const kinds = kindsOf([eager, heavy], worker, silent)
    expect(kinds.get('eager')).toMatchObject({ attempts: 2, concurrency: 9, retries: 'handler' })
    expect(kinds.get('heavy')).toMatchObject({ attempts: 4, concurrency: 3 })
    expect(kinds.get('exec')).toMatchObject({ concurrency: 3, retries: 'command' })
  })
})
