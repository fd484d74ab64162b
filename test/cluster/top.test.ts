/** `muster top` by the real program: as a frame, as objects, and on a terminal. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import type { TopFrame } from '../../runtime/cli/top-frame.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, muster, startMusterNode } from '../kit/muster.ts'

const dataDir = temporaryDirectory()
let node: MusterProcess & { url: string }
let run = ''
beforeAll(async () => {
  node = await startMusterNode({ dataDir, env: { MUSTER_WORKER_CONCURRENCY: '4' } })
  const stdin = '{"kind":"sleep","input":{"ms":50}}\n'.repeat(8000)
  run = (await say(['submit', '-'], stdin)).out.trim()
})
afterAll(async () => {
  await say(['cancel', run])
  await node.kill('SIGTERM')
  endProcessesIn(dataDir)
})

const say = (words: string[], stdin = '') =>
  muster([...words, '--url', node.url], { dataDir, stdin })

const hasScript = Bun.which('script') !== null
if (!hasScript) console.log('skipped: no script(1) on this machine (Debian: bsdutils)')

describe('muster top', () => {
  test('prints one frame where nobody can see it drawn again', async () => {
    const { code, out } = await say(['top'])
    expect(code).toBe(0)
    expect(out).toMatch(/^[A-Z]+ for /)
    expect(out).toMatch(/\d+ of \d+ sensors/)
    expect(out).toMatch(/tasks\/s {2}/)
    expect(out).toContain(`${run}  `)
    expect(out).toMatch(/^work\.sleep +\d+ +\d+ +0 /m)
    expect(out).toMatch(/^NODE +STATE/m)
    expect(out).not.toContain('\x1b')
  })

  test('prints the same as an object, and with --interval one after the other', async () => {
    const { out } = await say(['top', '--json', '--once'])
    const frame = JSON.parse(out) as TopFrame
    expect(frame.url).toBe(node.url)
    expect(frame.throughput.tasksPerSecond).toBeGreaterThan(0)
    expect(frame.throughput.queueWaitMs).toBeGreaterThan(0)
    expect(frame.runs.map(({ id }) => id)).toEqual([run])
    expect(frame.runs[0]?.tasksPerSecond).toBeGreaterThan(0)
    expect(frame.mailboxes.find(({ mailbox }) => mailbox === 'work.sleep')?.waiting).toBePositive()
    expect(frame.nodes.map(({ state }) => state)).toEqual(['alive'])
    expect(frame.health?.coverage.of).toBeGreaterThan(5)

    const bin = join(import.meta.dir, '../../runtime/cli/muster')
    const words = ['top', '--json', '--interval', '100ms', '--url', node.url]
    const child = Bun.spawn([bin, ...words], { stdout: 'pipe', stderr: 'ignore' })
    let text = ''
    for await (const piece of child.stdout) {
      text += new TextDecoder().decode(piece)
      if (text.split('\n').length > 3) break
    }
    child.kill('SIGTERM')
    await child.exited
    const [first, second] = text.split('\n').map((line) => line !== '' && JSON.parse(line))
    expect((second as TopFrame).at).toBeGreaterThan((first as TopFrame).at)
  })

  test.skipIf(!hasScript)('is drawn again on a terminal until somebody types q', async () => {
    const bin = join(import.meta.dir, '../../runtime/cli/muster')
    const command = `stty cols 80 rows 20; exec ${bin} top --interval 200ms --url ${node.url}`
    const child = Bun.spawn(['script', '-qec', command, '/dev/null'], {
      env: { ...process.env, TERM: 'xterm', SHELL: '/bin/sh' },
      stdin: 'pipe',
      stdout: 'pipe',
    })
    let text = ''
    const reading = (async () => {
      for await (const piece of child.stdout) text += new TextDecoder().decode(piece)
    })()
    const home = '\x1b[H'
    await eventually(() => expect(text.split(home).length).toBeGreaterThan(3), {
      timeoutMs: 20_000,
    })
    await child.stdin.write('q')
    await child.stdin.flush()
    expect(await child.exited).toBe(0)
    await reading
    // The terminal is as it was.
    expect(text).toContain('\x1b[?1049h')
    expect(text.trimEnd().endsWith('\x1b[?25h\x1b[?1049l')).toBe(true)
    expect(text).toContain('q leaves')
    expect(text).toContain(run)
  })

  test('says that there is no node, and what would be one', async () => {
    const nowhere = await muster(['top', '--url', 'http://127.0.0.1:9'], { dataDir })
    expect([nowhere.code, nowhere.out]).toEqual([69, ''])
    const bad = await say(['top', '--interval', '1ms'])
    expect(bad.code).toBe(64)
  })
})
