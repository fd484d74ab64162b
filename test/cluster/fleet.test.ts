import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { countRows, readLedger } from '../kit/ledger.ts'
import {
  type MusterProcess,
  muster,
  nodeFiles,
  startMuster,
  startMusterNode,
} from '../kit/muster.ts'

const root = dirname(dirname(import.meta.dir))

const started: MusterProcess[] = []
afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.kill('SIGTERM')))
})

function jsonLines<T>(text: string): T[] {
  const lines = text.trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as T)
}

const everySeq = (total: number) => Array.from({ length: total }, (_, seq) => seq)

/** So long that nobody loses one for being slow. */
const locks = { MUSTER_MAILBOX_LOCK_MS: '15000', MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000' }

describe('a node started by bun run runtime', () => {
  test('serves other processes, drains on SIGTERM, and the next node goes on', async () => {
    const dataDir = temporaryDirectory()
    const mark = process.env['TEST_PROCESS_MARK']
    const node = Bun.spawn(
      [process.execPath, 'run', 'runtime', '--data', dataDir, '--port', '0', '--workers', '4'],
      {
        cwd: root,
        env: {
          PATH: `${join(root, 'node_modules', '.bin')}:${process.env['PATH']}`,
          HOME: dataDir,
          ...locks,
          ...(mark === undefined ? {} : { TEST_PROCESS_MARK: mark }),
        },
        stdio: ['ignore', 'ignore', 'ignore'],
      },
    )
    await eventually(() => expect(nodeFiles(dataDir)).not.toEqual([]))
    // Some ten seconds for the first node: several commands look at it in between.
    const total = 280
    const stdin = '{"kind":"sleep","input":{"ms":150}}\n'.repeat(total)
    const submitted = await muster(['submit', '-'], { dataDir, stdin })
    expect(submitted.code).toBe(0)
    const run = submitted.out.trim()
    const watching = startMuster(['watch', run, '--json'], { dataDir })
    started.push(watching)
    await eventually(() => expect(countRows(dataDir)).toBeGreaterThan(8))
    const [listed] = jsonLines<Run>((await muster(['ls', '--json'], { dataDir })).out)
    expect(listed).toMatchObject({ id: run, state: 'running', total })
    const first = jsonLines<ResultLine>((await muster(['results', run, '--json'], { dataDir })).out)
    expect(first.every(({ outcome }) => outcome === 'ok')).toBe(true)

    node.kill('SIGTERM')
    expect(await node.exited).toBe(0)
    expect(nodeFiles(dataDir)).toEqual([])
    const drained = countRows(dataDir)
    expect(drained).toBeLessThan(total)

    const next = await startMusterNode({ dataDir, env: locks })
    started.push(next)
    const watched = await muster(['watch', run, '--json'], { dataDir })
    expect(watched.code).toBe(0)
    expect(JSON.parse(watched.out)).toMatchObject({
      state: 'completed',
      total,
      counts: { ok: total, pending: 0 },
    })
    const { out } = await muster(['show', run, '--json'], { dataDir })
    expect(JSON.parse(out)).toEqual(JSON.parse(watched.out))
    const results = await muster(['results', run, '--json'], { dataDir })
    const lines = jsonLines<ResultLine>(results.out)
    expect(lines.map(({ seq }) => seq)).toEqual(everySeq(total))
    // What was handed back in order is no failed attempt.
    expect(lines.every(({ attempt }) => attempt === 1)).toBe(true)
  })
})

describe('commands on one data directory', () => {
  const write = (dataDir: string, name: string, total: number) => {
    const lines = everySeq(total).map((seq) => `{"kind":"noop","id":"${name}-${seq}"}\n`)
    writeFileSync(join(dataDir, `${name}.ndjson`), lines.join(''))
  }
  const total = 8000
  const env = { MUSTER_DISPATCHER_RATE: '8000', MUSTER_DISPATCHER_BURST: '1000' }

  test('with different files at once are both complete', async () => {
    const dataDir = temporaryDirectory()
    const names = ['left', 'right']
    const ended = await Promise.all(
      names.map((name) => {
        write(dataDir, name, total)
        return muster(['run', `${name}.ndjson`, '--json'], { dataDir, env })
      }),
    )
    const runs = ended.map(({ code, out }) => {
      expect(code).toBe(0)
      return JSON.parse(out) as Run
    })
    expect(new Set(runs.map(({ id }) => id)).size).toBe(2)
    for (const { id, counts } of runs) {
      expect(counts).toMatchObject({ ok: total, pending: 0 })
      const { rows, audited } = readLedger(dataDir, id)
      expect(rows.map(({ seq }) => seq)).toEqual(everySeq(total))
      expect(audited.size).toBe(total)
    }
    expect(existsSync(join(dataDir, 'redis', 'redis.sock'))).toBe(false)
  })

  test('with the same file at once are one run, and both report it', async () => {
    const dataDir = temporaryDirectory()
    write(dataDir, 'same', total)
    const words = ['run', 'same.ndjson', '--json']
    const ended = await Promise.all([
      muster(words, { dataDir, env }),
      muster(words, { dataDir, env }),
    ])
    const runs = ended.map(({ code, out }) => {
      expect(code).toBe(0)
      return JSON.parse(out) as Run
    })
    expect(runs[0]?.id).toBe(runs[1]?.id)
    expect(runs[0]).toEqual(runs[1])
    expect(runs[0]?.counts).toMatchObject({ ok: total, pending: 0 })
    const { rows } = readLedger(dataDir, runs[0]?.id ?? '')
    expect(rows.map(({ seq }) => seq)).toEqual(everySeq(total))
    expect(countRows(dataDir)).toBe(total)
  })
})
