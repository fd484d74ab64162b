import { afterAll, afterEach, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { startPodman } from '../kit/podman.ts'
import { processesWith } from '../kit/processes.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'

setDefaultTimeout(120_000)
const problem = rootProblem()
if (problem !== undefined) console.log(`skipped, containers of a killed node: ${problem}`)
const podman = problem === undefined ? startPodman() : problem
if (typeof podman === 'string') console.log(`skipped, Podman of a killed node: ${podman}`)
else afterAll(() => podman.remove())

const nodes: MusterProcess[] = []
afterEach(async () => {
  for (const node of nodes.splice(0)) await node.kill('SIGTERM')
})

/** The owners that have left word below a directory for temporary files. */
function ownersIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith('muster-sandboxes-'))
    .flatMap((name) => readdirSync(join(directory, name)))
}

function begin() {
  const dataDir = temporaryDirectory()
  const temporary = join(dataDir, 'tmp')
  mkdirSync(temporary)
  const program =
    typeof podman === 'string' ? {} : { MUSTER_WORKER_CONTAINER_PROGRAM: podman.program }
  const options = { dataDir, env: { TMPDIR: temporary, ...program } }
  return { dataDir, temporary, options }
}

test.skipIf(problem !== undefined)('a run of containers is a run like any other', async () => {
  const { dataDir, options, temporary } = begin()
  const root = makeRoot()
  const task = (input: Record<string, unknown>) =>
    `${JSON.stringify({ kind: 'container', input })}\n`
  const stdin =
    task({ root, argv: ['cat', '/etc/base'] }) +
    task({ root, argv: ['cat'], stdin: 'given' }) +
    task({ argv: ['true'] }) +
    task({ root, image: 'debian:12', argv: ['true'] }) +
    task({ root: '/', argv: ['true'] }) +
    task({ root, argv: ['true'], network: 'bridge' })
  const file = join(dataDir, 'results.ndjson')
  const { code, err } = await muster(['run', '-', '--results', file], { ...options, stdin })
  expect(err).toContain('line 3: input.root: expected either "image" or "root", got neither')
  expect(err).toContain('line 4: input.image: expected either "image" or "root", got both')
  expect(err).toContain('line 5: input.root: expected a directory with a root file system')
  expect(err).toContain('line 6: input.network')
  expect(code).toBe(1)
  const rows = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { outcome: string; output: { stdout: string } })
  const said = rows.map(({ outcome, output }) => `${outcome} ${output.stdout}`)
  expect(new Set(said)).toEqual(new Set(['ok as it was\n', 'ok given']))
  expect(ownersIn(temporary)).toEqual([])
})

test.skipIf(problem !== undefined)(
  'what a killed node leaves is gone with the next start',
  async () => {
    const { dataDir, options, temporary } = begin()
    const root = makeRoot()
    const sleeping = (base: Record<string, unknown>) => {
      const input = { argv: ['sleep', '1000'], ...base }
      return `${JSON.stringify({ kind: 'container', delivery: 'at-most-once', input })}\n`
    }
    const image = typeof podman === 'string' ? [] : [podman.image]
    const node = await startMusterNode(options)
    const stdin = sleeping({ root }) + image.map((name) => sleeping({ image: name })).join('')
    expect((await muster(['submit', '-'], { ...options, stdin })).code).toBe(0)

    const owner = await eventually(
      () => {
        const [found = ''] = ownersIn(temporary)
        // Its keeper, the sandbox's own processes, and what runs there.
        expect(processesWith(`MUSTER_SANDBOX_OWNER=${found}`).length).toBeGreaterThanOrEqual(3)
        return found
      },
      { timeoutMs: 40_000 },
    )
    const containers = () =>
      typeof podman === 'string'
        ? []
        : podman
            .run('ps', '-aq', '--filter', `label=muster.owner=${owner}`)
            .output.trim()
            .split('\n')
    await eventually(() => expect(containers()).toHaveLength(image.length))

    await node.kill('SIGKILL')
    // Nothing of a sandbox of namespaces outlives its node: no process, and so no mount.
    await eventually(() => expect(processesWith(`MUSTER_SANDBOX_OWNER=${owner}`)).toEqual([]))
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(temporary)
    expect(ownersIn(temporary)).toEqual([owner])

    nodes.push(await startMusterNode({ dataDir, env: options.env }))
    await eventually(() => expect(ownersIn(temporary)).not.toContain(owner), { timeoutMs: 30_000 })
    if (typeof podman !== 'string') expect(containers()).toEqual([''])
  },
)
