/** Every kind of work through the real program. */
import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { HttpOutput } from '../../actors/http-input.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, muster, startMusterNode } from '../kit/muster.ts'
import { isAlive } from '../kit/processes.ts'

const slowMs = 90_000
const used: string[] = []
afterEach(() => {
  for (const dataDir of used.splice(0)) endProcessesIn(dataDir)
})

function directory(): string {
  const dataDir = temporaryDirectory()
  used.push(dataDir)
  return dataDir
}

const ndjson = (lines: readonly unknown[]) =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join('')

describe('muster run', () => {
  test(
    'runs commands, requests, and handlers in each place where they can run',
    async () => {
      const dataDir = directory()
      const server = Bun.serve({
        port: 0,
        hostname: '127.0.0.1',
        fetch: ({ headers }) => new Response(headers.get('traceparent')),
      })
      const file = join(dataDir, 'own.tasks.ts')
      const head = "import { defineTask } from 'muster'\nimport { z } from 'zod'\n"
      const pid = (kind: string, profile: string) =>
        `export const ${kind} = defineTask({ kind: '${kind}', input: z.strictObject({}), ` +
        `profile: '${profile}', run: () => ({ pid: process.pid, main: Bun.isMainThread }) })\n`
      writeFileSync(
        file,
        `${head}${pid('waits', 'io')}${pid('counts', 'cpu')}${pid('both', 'mixed')}`,
      )
      const stdin = ndjson([
        {
          kind: 'exec',
          input: { argv: ['printenv', 'TRACEPARENT'], limits: { memoryBytes: 2 ** 28 } },
        },
        { kind: 'http', input: { url: `http://127.0.0.1:${server.port}/` } },
        { kind: 'waits' },
        { kind: 'counts' },
        { kind: 'both' },
        { kind: 'http', input: { url: 'http://x/', method: 'BREW' } },
        { kind: 'exec', input: { argv: 'uname -r' } },
      ])
      const words = ['run', '-', '--tasks', file, '--results', join(dataDir, 'results')]
      const { code, err } = await muster(words, { dataDir, stdin })
      await server.stop(true)
      expect(err).toContain('line 6: input.method: expected')
      expect(err).toContain('line 7: input.argv: expected a non-empty array')
      expect(code).toBe(1)
      const lines = readFileSync(join(dataDir, 'results'), 'utf8').trim().split('\n')
      const results = lines.map((line) => JSON.parse(line) as ResultLine)
      const inOrder = results.toSorted((a, b) => a.seq - b.seq)
      expect(inOrder.map(({ seq }) => seq)).toEqual([0, 1, 2, 3, 4])
      const [exec, http, waits, counts, both] = inOrder as [
        ResultLine,
        ResultLine,
        ResultLine,
        ResultLine,
        ResultLine,
      ]
      expect(results.map(({ outcome }) => outcome)).toEqual(['ok', 'ok', 'ok', 'ok', 'ok'])
      const { stdout, limitsMode } = exec.output as ExecOutput
      expect(stdout.trim()).toBe(exec.trace ?? '')
      expect(limitsMode).not.toBe('none')
      expect((http.output as HttpOutput).body).toBe(http.trace ?? '')
      const traceOf = (line?: ResultLine) => line?.trace?.split('-')[1]
      expect(traceOf(exec)).toBe(traceOf(http) ?? '')
      const inline = waits.output as { pid: number; main: boolean }
      expect(inline.main).toBe(true)
      expect(counts.output).toEqual({ pid: inline.pid, main: false })
      expect(both.output).toMatchObject({ main: true })
      expect((both.output as { pid: number }).pid).not.toBe(inline.pid)
    },
    slowMs,
  )
})

describe('a node that is killed', () => {
  test(
    'takes its commands with it, the whole tree of each',
    async () => {
      const dataDir = directory()
      const node = await startMusterNode({ dataDir, words: [] })
      const pids = ['leader', 'child'].map((name) => join(dataDir, name))
      const script = 'sleep 300 & echo $! > "$2"; echo $$ > "$1"; wait'
      const argv = ['sh', '-c', script, 'sh', ...pids]
      const body = ndjson([{ kind: 'exec', input: { argv }, delivery: 'at-most-once' }])
      const headers = { 'content-type': 'application/x-ndjson' }
      await fetch(`${node.url}/v1/runs`, { method: 'POST', headers, body })
      const isWritten = (path: string) =>
        existsSync(path) && readFileSync(path, 'utf8').endsWith('\n')
      await eventually(() => expect(pids.every(isWritten)).toBe(true))
      const alive = () => pids.map((path) => isAlive(Number(readFileSync(path, 'utf8'))))
      expect(alive()).toEqual([true, true])
      await node.kill('SIGKILL')
      await eventually(() => expect(alive()).toEqual([false, false]))
    },
    slowMs,
  )
})
