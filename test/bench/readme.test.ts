/** The README shows what benchmarks measured, and only that. */
import { expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'

const program = join(import.meta.dir, '../../bench/readme.ts')
const report = {
  bench: 'probe',
  columns: [
    { key: 'what', title: 'work' },
    { key: 'rate', title: 'tasks/s' },
  ],
  rows: [{ what: 'noop', rate: 123_456.7 }],
  ratios: { 'a ÷ b': 1.5 },
  notes: [],
  faults: [] as string[],
  isQuick: false,
  machine: { cores: 2, processor: 'P', memoryGiB: 4, bun: '1', redis: '7', fsync: 'everysec' },
}
const marked = 'before\n<!-- bench:probe -->\nold\n<!-- /bench:probe -->\nafter\n'

function place(text: string, change: Partial<typeof report> = {}, words: string[] = []) {
  const folder = temporaryDirectory()
  const [readme, reports] = [join(folder, 'README.md'), join(folder, 'reports.ndjson')]
  writeFileSync(readme, text)
  writeFileSync(reports, `${JSON.stringify({ ...report, ...change })}\n`)
  const argv = [process.execPath, '--no-install', program, reports, '--readme', readme, ...words]
  const { exitCode, stderr } = Bun.spawnSync(argv)
  return { code: exitCode, err: stderr.toString(), text: readFileSync(readme, 'utf8') }
}

test('what stands between the marks is replaced, nothing else', () => {
  const { code, text } = place(marked)
  expect(code).toBe(0)
  expect(text).toStartWith('before\n<!-- bench:probe -->\n| work | tasks/s |\n')
  expect(text).toContain('\n| noop | 123,457 |\n\na ÷ b: 1.50. 2 cores (P), 4 GiB; Bun 1')
  expect(text).toEndWith('\n<!-- /bench:probe -->\nafter\n')
  expect(text).not.toContain('old')
})

test('placing the same report again changes nothing, and a check says so', () => {
  const { text } = place(marked)
  expect(place(text, {}, ['--check'])).toMatchObject({ code: 0, text })
})

test('a check of a README that shows other figures fails, and writes nothing', () => {
  expect(place(marked, {}, ['--check'])).toMatchObject({ code: 1, text: marked })
})

test('a quick report is refused', () => {
  expect(place(marked, { isQuick: true })).toMatchObject({ code: 64, text: marked })
})

test('a report of work that went wrong is refused', () => {
  const { code, err, text } = place(marked, { faults: ['one task is missing'] })
  expect(err).toContain('one task is missing')
  expect({ code, text }).toEqual({ code: 64, text: marked })
})

test('a report without marks is named', () => {
  const { code, err } = place('no marks\n')
  expect(err).toContain('probe: no place')
  expect(code).toBe(0)
})
