/** Tasks that say as much as they may: each is run once, and told with the head of what it said. */
import { afterAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { ResultLine } from '../../actors/result.ts'
import { outputBytesHighest } from '../../actors/sayable.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn, muster } from '../kit/muster.ts'

const dataDir = temporaryDirectory()
afterAll(() => endProcessesIn(dataDir))

test('tasks of one envelope that say very much are settled all the same', async () => {
  const ran = join(dataDir, 'ran')
  const saying = (script: string) => ({
    kind: 'exec',
    attempts: 1,
    input: {
      argv: ['sh', '-c', `echo "$MUSTER_SEQ" >> "$1"; ${script}`, 'sh', ran],
      limits: { outputBytes: outputBytesHighest },
    },
  })
  const letters = saying(`head -c ${outputBytesHighest} /dev/zero | tr '\\0' a`)
  const bytes = saying(`head -c ${outputBytesHighest} /dev/zero`)
  const tasks = [letters, saying('true'), bytes, letters, letters, saying('echo end')]
  const stdin = tasks.map((task) => `${JSON.stringify(task)}\n`).join('')
  // Nobody loses one for being slow.
  const env = { MUSTER_MAILBOX_LOCK_MS: '30000', MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000' }
  const asked = await muster(['run', '-', '--json', '--timeout', '100s'], { dataDir, stdin, env })
  expect(asked.code).toBe(0)
  const { id } = JSON.parse(asked.out) as { id: string }
  const { out } = await muster(['results', id, '--json'], { dataDir })
  const outputs = out
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as ResultLine).output as ExecOutput)
  const told = outputs.map(({ stdout, truncated }) => [stdout.length, truncated])
  const cut = told[2]?.[0]
  const whole = [outputBytesHighest, false]
  expect(told).toEqual([whole, [0, false], [cut, true], whole, whole, [4, false]] as never)
  // Bytes that are no text take six times their room.
  expect(cut).toBeWithin(outputBytesHighest / 4, outputBytesHighest)
  expect(outputs[2]?.stdoutBytes).toBe(outputBytesHighest)
  const begun = readFileSync(ran, 'utf8').trimEnd().split('\n')
  expect(begun.toSorted()).toEqual(['0', '1', '2', '3', '4', '5'])
}, 200_000)
