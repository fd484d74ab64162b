import { describe, expect, test } from 'bun:test'
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { readLedger } from '../kit/ledger.ts'
import { endProcessesIn, muster } from '../kit/muster.ts'

const total = 30_000
const mebibyte = 1_048_576

function run(...argv: string[]): number {
  return Bun.spawnSync(argv, { stdio: ['ignore', 'ignore', 'ignore'] }).exitCode
}

/** A file system of 48 MiB, or why there is none. */
function mountSmall(folder: string): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'only root mounts a tmpfs'
  const code = run('mount', '-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', folder)
  return code === 0 ? undefined : `mount exited with ${code}`
}

/** Tried once, so that it is known whether the test can be run. */
async function whyNot(): Promise<string | undefined> {
  const folder = temporaryDirectory()
  const reason = mountSmall(folder)
  if (reason === undefined) await unmount(folder)
  return reason
}

async function unmount(folder: string): Promise<void> {
  endProcessesIn(folder)
  await eventually(() => expect(run('umount', folder)).toBe(0))
}

const reason = await whyNot()
if (reason !== undefined) console.log(`not tested, a full disk: ${reason}`)

describe('a full disk', () => {
  test.skipIf(reason !== undefined)(
    'ends the command with the reason, and with room again it is completed exactly',
    async () => {
      const dataDir = temporaryDirectory()
      expect(mountSmall(dataDir)).toBeUndefined()
      try {
        const tasks = join(temporaryDirectory(), 'tasks.ndjson')
        writeFileSync(tasks, '{"kind":"noop"}\n'.repeat(total))
        const filler = join(dataDir, 'filler')
        const { bavail, bsize } = statfsSync(dataDir)
        writeFileSync(filler, Buffer.alloc(bavail * bsize - 3 * mebibyte))
        const words = ['run', tasks, '--json', '--timeout', '20s']

        const first = await muster(words, { dataDir })
        expect([69, 73]).toContain(first.code)
        expect(first.out).toBe('')
        expect(first.err.trimEnd().split('\n').at(-1)).toMatch(/No space left|disk is full/)

        rmSync(filler)
        const again = await muster(words, { dataDir })
        const done = JSON.parse(again.out) as Run
        expect(again.code).toBe(0)
        expect(done).toMatchObject({ total, counts: { ok: total, pending: 0 }, rejectedCount: 0 })
        const { rows, audited } = readLedger(dataDir, done.id)
        expect(rows.map(({ seq }) => seq)).toEqual(Array.from({ length: total }, (_, seq) => seq))
        expect(audited.size).toBe(total)
      } finally {
        await unmount(dataDir)
      }
    },
  )
})
