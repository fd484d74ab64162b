/** Output of commands and containers on a disk that is really full. */
import { afterEach, expect, test } from 'bun:test'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'
import { smallDiskProblem, withSmallDisk } from '../kit/small-disk.ts'

const problem = smallDiskProblem()
if (problem !== undefined) console.log(`skipped, output on a full disk: ${problem}`)

const mebibyte = 2 ** 20
const dataDir = temporaryDirectory()
let node: MusterProcess | undefined
afterEach(async () => {
  await node?.kill('SIGTERM')
  endProcessesIn(dataDir)
})

/** One after the other: what one leaves behind would be missing to the next. */
function line(kind: 'exec' | 'container', argv: string[]): string {
  const limits = { outputBytes: 16 * mebibyte }
  const image = kind === 'container' ? { image: 'any' } : {}
  return `${JSON.stringify({ kind, key: 'k', attempts: 1, input: { argv, limits, ...image } })}\n`
}

const writes = (mebibytes: number) => {
  const bytes = mebibytes * mebibyte
  return ['sh', '-c', `head -c ${bytes} /dev/zero | tr '\\0' x`]
}

test.skipIf(problem !== undefined)(
  'a command whose output does not fit has failed, and leaves the room to the next one',
  async () => {
    const spill = join(dataDir, 'spill')
    mkdirSync(spill)
    const env = { MUSTER_WORKER_CONTAINER_MODE: 'host' }
    const started = await startMusterNode({ dataDir, env, under: withSmallDisk(spill, 4) })
    node = started
    const file = join(dataDir, 'results.ndjson')
    const run = async (stdin: string) => {
      const words = ['run', '-', '--url', started.url, '--timeout', '60s', '--results', file]
      const { code } = await muster(words, { dataDir, stdin })
      const lines = readFileSync(file, 'utf8').trim().split('\n')
      return { code, rows: lines.map((text) => JSON.parse(text) as Row) }
    }
    type Row = ResultLine & { output: ExecOutput }

    for (const kind of ['exec', 'container'] as const) {
      const { code, rows } = await run(
        line(kind, writes(8)) + line(kind, writes(4)) + line(kind, ['ls', '-A', spill]),
      )
      const [tooMuch, fits, listed] = rows.toSorted((a, b) => a.seq - b.seq)
      expect([code, tooMuch?.outcome, tooMuch?.error?.code]).toEqual([1, 'failed', 'ENOSPC'])
      expect(tooMuch?.error?.message).toMatch(/its output could not be kept: .*no space left/i)
      // It ran to its end all the same, and nothing of it is guessed.
      expect(tooMuch?.output).toMatchObject({
        exitCode: 0,
        truncated: true,
        stdoutBytes: 8 * mebibyte,
      })
      expect(tooMuch?.output.stdout.length).toBeGreaterThanOrEqual(mebibyte)
      expect([fits?.outcome, fits?.output.stdout.length, fits?.output.truncated]).toEqual([
        'ok',
        4 * mebibyte,
        false,
      ])
      expect([listed?.outcome, listed?.output.stdout]).toEqual(['ok', ''])
    }
    expect((await fetch(`${started.url}/readyz`)).status).toBe(200)
  },
  120_000,
)
