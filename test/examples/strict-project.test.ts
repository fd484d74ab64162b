/** A project of its own that takes the library in, with TypeScript settings that are not ours. */
import { expect, test } from 'bun:test'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'

const project = join(import.meta.dir, '..', '..')
const modules = join(project, 'node_modules')

const program = `import { connect, createNode, defineTask } from 'muster'
import { z } from 'zod'
export const parse = defineTask({
  kind: 'pcap.parse', input: z.object({ path: z.string() }), profile: 'io', timeoutMs: 30_000,
  async run(input, { signal, log, attempt, fence }) {
    log.info({ attempt, isFenced: fence !== undefined }, input.path)
    return signal.aborted ? 0 : input.path.length
  },
})
const node = await createNode({ redis: { url: 'redis://127.0.0.1' } })
await node.start()
const muster = await connect({ url: node.url ?? '' })
async function* tasks() { yield { kind: 'pcap.parse', input: { path: '/a' } } }
const run = await muster.submit(tasks())
for await (const result of run.results()) console.log(result.outcome)
await run.done()
await node.stop()
`

test('the code of the library type-checks in a project that is merely strict', async () => {
  const folder = temporaryDirectory()
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(project, join(folder, 'node_modules', 'muster'))
  symlinkSync(join(modules, 'zod'), join(folder, 'node_modules', 'zod'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  writeFileSync(join(folder, 'program.ts'), program)
  const compilerOptions = {
    target: 'esnext',
    module: 'nodenext',
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    types: ['bun'],
    typeRoots: [join(modules, '@types')],
  }
  const files = ['program.ts']
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const child = Bun.spawn([join(modules, '.bin', 'tsc'), '-p', '.'], { cwd: folder })
  expect(await new Response(child.stdout).text()).toBe('')
  expect(await child.exited).toBe(0)
})
