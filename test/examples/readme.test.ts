/** What the README shows is what is here, and it runs. */
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { connect, createNode } from '../../runtime/index.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import ledger from './ledger.ts'

const root = new URL('../../', import.meta.url).pathname
const readme = readFileSync(`${root}README.md`, 'utf8')

test.each(['smallest', 'ledger', 'client', 'gather'])(
  'the README shows %s as it is in test/examples',
  (name) => {
    const program = readFileSync(new URL(`./${name}.ts`, import.meta.url), 'utf8')
    expect(readme).toContain(`\`\`\`ts\n${program}\`\`\``)
  },
)

test('the singleton leads on one node, and its tasks run', async () => {
  const node = await createNode({
    singletons: [ledger],
    dataDir: temporaryDirectory(),
    ephemeral: true,
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  const muster = await connect({ url: node.url ?? '' })
  await eventually(async () => {
    const { items } = await muster.list()
    expect(items).toMatchObject([{ state: 'completed', counts: { ok: 1 } }])
  })
  expect((await muster.leases()).map(({ name }) => name)).toContain('ledger')
  await node.stop()
})

test('the client talks to a node by its URL alone', async () => {
  const node = await createNode({
    dataDir: temporaryDirectory(),
    ephemeral: true,
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  const child = Bun.spawn([process.execPath, `${root}test/examples/client.ts`], {
    cwd: temporaryDirectory(),
    env: { ...process.env, MUSTER_URL: node.url ?? '' },
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const stdout = await new Response(child.stdout).text()
  expect(await child.exited).toBe(0)
  expect(stdout).toMatch(/^done 100 of 100$/m)
  expect(stdout).toMatch(/^r-[0-9a-z]+ completed 100 ok$/m)
  await node.stop()
})

test('the gathering has the answer of every node', async () => {
  const node = await createNode({
    node: { id: 'here' },
    dataDir: temporaryDirectory(),
    ephemeral: true,
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  const child = Bun.spawn([process.execPath, `${root}test/examples/gather.ts`], {
    cwd: temporaryDirectory(),
    env: { ...process.env, MUSTER_URL: node.url ?? '' },
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const stdout = await new Response(child.stdout).text()
  expect(await child.exited).toBe(0)
  expect(stdout).toBe('here ok\ncomplete []\n')
  await node.stop()
})

test('the smallest program runs and prints its results', async () => {
  const child = Bun.spawn([process.execPath, `${root}test/examples/smallest.ts`], {
    cwd: temporaryDirectory(),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' })
  expect(stdout).toContain('greet ok hello Ada\n')
  expect(stdout).toContain('exec ok')
  expect(stdout).toContain('stdout: "Linux\\n"')
})

test('every verb of the command line that the README names is one', async () => {
  const child = Bun.spawn([process.execPath, `${root}runtime/cli/main.ts`, '--help'], {
    stdout: 'pipe',
    stderr: 'ignore',
  })
  const help = await new Response(child.stdout).text()
  await child.exited
  const named = [...readme.matchAll(/`muster ([a-z]+)/g)].map((match) => match[1] ?? '')
  expect(named.length).toBeGreaterThan(5)
  for (const verb of new Set(named)) expect(help).toContain(`\n  ${verb} `)
})
