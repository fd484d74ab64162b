/**
 * The guard: ratios of one quick run against the committed ones.
 *
 * Runs alone: it measures.
 */
import { expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'

const folder = join(import.meta.dir, '../../bench')
const measuredLimitMs = 300_000

async function guard(...words: string[]): Promise<{ code: number; out: string }> {
  const argv = [process.execPath, '--no-install', join(folder, 'guard.ts'), ...words]
  const child = Bun.spawn(argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  const out = await new Response(child.stdout).text()
  return { code: await child.exited, out }
}

type Ratios = Record<string, Record<string, number>>

/** A file of reports that say so much of the baseline, each of them. */
async function reportsOf(share: number, change: (ratios: Ratios) => void = () => {}) {
  const baseline = (await Bun.file(join(folder, 'baseline.json')).json()) as Ratios
  for (const ratios of Object.values(baseline)) {
    for (const [name, ratio] of Object.entries(ratios)) ratios[name] = ratio * share
  }
  change(baseline)
  const lines = Object.entries(baseline).map(([bench, ratios]) => JSON.stringify({ bench, ratios }))
  const file = join(temporaryDirectory(), 'reports.ndjson')
  writeFileSync(file, lines.join('\n'))
  return file
}

test('a ratio just over half of the baseline passes', async () => {
  const { code, out } = await guard('--reports', await reportsOf(0.55))
  expect(out).not.toContain('LOW')
  expect(code).toBe(0)
})

test('a ratio under half of the baseline is named and fails', async () => {
  const name = 'CPU of Bun.spawn, output read ÷ of Muster'
  const file = await reportsOf(1, (ratios) => {
    ratios['exec'] = { [name]: 0.01 }
  })
  const { code, out } = await guard('--reports', file)
  expect(out.match(/^LOW .*$/gm)).toEqual([expect.stringContaining(`exec: ${name}: 0.01`)])
  expect(code).toBe(1)
})

test('a ratio that was not measured fails', async () => {
  const file = await reportsOf(1, (ratios) => {
    ratios['versus-bullmq'] = {}
  })
  const { code, out } = await guard('--reports', file)
  expect(out).toContain('LOW  versus-bullmq: CPU of plain BullMQ ÷ of Muster: NaN')
  expect(code).toBe(1)
})

test(
  'nothing has become twice as slow as the baseline says, against the same machine',
  async () => {
    const { code, out } = await guard()
    // What was low is measured once more.
    const last = out.split('measuring once more').at(-1) ?? ''
    expect(last.match(/^LOW .*$/gm) ?? []).toEqual([])
    expect(code).toBe(0)
  },
  measuredLimitMs,
)
