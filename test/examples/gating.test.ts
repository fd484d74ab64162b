/**
 * The GitHub Actions example, step by step, as a runner would take it.
 *
 * Runs alone: where others take the processor a node is not well, and its audit says so.
 */
import { afterEach, expect, test } from 'bun:test'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AuditReport } from '../../runtime/audit/report.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn } from '../kit/muster.ts'

interface Step {
  name?: string
  run?: string
  if?: string
}

interface Workflow {
  jobs: { node: { env: Record<string, string>; steps: Step[] } }
}

const root = join(import.meta.dir, '../..')
const file = join(root, 'config/deploy/github-actions-gating.yml')
const { node: job } = (Bun.YAML.parse(readFileSync(file, 'utf8')) as Workflow).jobs

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) endProcessesIn(folder)
})

/** Any that is free now. */
function freePort(): string {
  const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response() })
  const { port } = server
  void server.stop(true)
  return String(port)
}

/** Runs the job on a load; what was installed is the checkout of the tests. */
async function perform(load: string): Promise<{ failed: string[]; said: string; folder: string }> {
  const folder = temporaryDirectory()
  folders.push(folder)
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"private":true}')
  writeFileSync(join(folder, 'load.ndjson'), load)
  const env = {
    PATH: process.env['PATH'],
    HOME: folder,
    TEST_PROCESS_MARK: process.env['TEST_PROCESS_MARK'],
    ...job.env,
    MUSTER_HTTP_PORT: freePort(),
    TASKS: join(root, 'test/examples/blocking.ts'),
  }
  const failed: string[] = []
  let said = ''
  for (const [index, { name = '', run, if: when }] of job.steps.entries()) {
    if (run === undefined || run === 'npm ci' || (failed.length > 0 && when !== 'always()'))
      continue
    const output = Bun.file(join(folder, `step-${index}.log`))
    const child = Bun.spawn(['bash', '-eo', 'pipefail', '-c', run], {
      cwd: folder,
      env,
      stdio: ['ignore', output, output],
    })
    if ((await child.exited) !== 0) failed.push(name)
    said += await output.text()
  }
  return { failed, said, folder }
}

const reportIn = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'audit.json'), 'utf8')) as AuditReport

test('a build whose handlers let others run passes', async () => {
  const { failed, said, folder } = await perform('{"kind":"sleep","input":{"ms":20}}\n'.repeat(20))
  expect({ failed, said: failed.length > 0 ? said : '' }).toEqual({ failed: [], said: '' })
  expect(reportIn(folder)).toMatchObject({ missing: [] })
})

test('a build whose handlers block the event loop fails, and its report says why', async () => {
  const { failed, said, folder } = await perform('{"kind":"block","input":{"ms":2000}}\n'.repeat(2))
  expect(failed).toEqual(['audit it'])
  expect(said).toContain('Event-loop starvation detected.')
  expect(reportIn(folder).max_event_loop_lag_ms).toBeGreaterThan(1500)
})
