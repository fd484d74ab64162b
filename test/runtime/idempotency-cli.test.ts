/** Idempotency keys on the command line. */
import { describe, expect, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { muster } from '../kit/muster.ts'

describe('the command line', () => {
  const appendLine = (file: string, word: string) => {
    const argv = ['sh', '-c', `echo ${word} >> ${file}`]
    return `${JSON.stringify({ kind: 'exec', input: { argv } })}\n`
  }

  test('runs once under one key, and refuses other lines with 64', async () => {
    const dataDir = temporaryDirectory()
    const [tasks, out] = [join(dataDir, 'tasks.ndjson'), join(dataDir, 'out')]
    writeFileSync(tasks, appendLine(out, 'a') + appendLine(out, 'b'))
    const run = (...words: string[]) => muster([...words, '--idempotency-key', 'K 1'], { dataDir })
    const first = await run('--json', 'run', tasks)
    const again = await run('--json', 'run', tasks)
    expect([first.code, again.code]).toEqual([0, 0])
    expect((JSON.parse(again.out) as Run).id).toBe((JSON.parse(first.out) as Run).id)
    expect(again.err).toContain('same key')
    const stdin = readFileSync(tasks, 'utf8')
    const piped = await muster(['--json', 'run', '-', '--idempotency-key', 'K 1'], {
      dataDir,
      stdin: `\n${stdin}`,
    })
    expect([piped.code, piped.out]).toEqual([0, again.out])
    writeFileSync(tasks, appendLine(out, 'a') + appendLine(out, 'c'))
    const other = await run('run', tasks)
    expect(other.code).toBe(64)
    expect(other.err).toContain((JSON.parse(first.out) as Run).id)
    expect(readFileSync(out, 'utf8').split('\n').toSorted()).toEqual(['', 'a', 'b'])
  })

  test('resumes under its key what it left, and says so', async () => {
    const dataDir = temporaryDirectory()
    const [tasks, out] = [join(dataDir, 'tasks.ndjson'), join(dataDir, 'out')]
    const go = join(dataDir, 'go')
    const argv = ['sh', '-c', `until test -e ${go}; do sleep 0.1; done`]
    const waiting = `${JSON.stringify({ kind: 'exec', input: { argv } })}\n`
    writeFileSync(tasks, appendLine(out, 'a') + waiting)
    const words = ['--json', 'run', tasks, '--idempotency-key', 'k']
    const left = await muster([...words, '--timeout', '8s'], { dataDir })
    expect([left.code, left.err]).toEqual([124, expect.stringContaining('same command resumes it')])
    writeFileSync(go, '')
    const again = await muster(words, { dataDir })
    expect(again.code).toBe(0)
    const { id } = JSON.parse(again.out) as Run
    expect(left.err).toContain(id)
    expect(readFileSync(out, 'utf8')).toBe('a\n')
  })

  test.each(['', ' k', 'kéy', 'k'.repeat(256)])('refuses the key "%s" with 64', async (key) => {
    const dataDir = temporaryDirectory()
    const refused = await muster(['run', '--idempotency-key', key, '--', 'true'], { dataDir })
    expect([refused.code, refused.err]).toEqual([64, expect.stringContaining('--idempotency-key')])
  })
})
