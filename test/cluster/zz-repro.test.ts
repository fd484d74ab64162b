import { test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { endProcessesIn, muster, startMusterNode } from '../kit/muster.ts'

test('repro', async () => {
  const dataDir = temporaryDirectory()
  const path = join(dataDir, 't.ts')
  writeFileSync(
    path,
    `import { defineTask } from 'muster'
import { z } from 'zod'
export const nap = defineTask({ kind: 'nap', input: z.unknown(), async run() { await new Promise((r) => setTimeout(r, 4000)) } })
export const die = defineTask({ kind: 'die', input: z.unknown(), run() { process.kill(process.pid, 'SIGKILL') } })`,
  )
  const node = await startMusterNode({ dataDir, words: ['--processes', '2', '--tasks', path] })
  const t = Date.now()
  const lines = '{"kind":"nap"}\n'.repeat(40) + '{"kind":"die"}\n'.repeat(12)
  const run = (
    await muster(['submit', '-', '--url', node.url], { dataDir, stdin: lines })
  ).out.trim()
  for (;;) {
    const r = (await fetch(`${node.url}/v1/runs/${run}`)
      .then((x) => x.json())
      .catch(() => undefined)) as any
    if (r?.state === 'completed' || Date.now() - t > 280000 || r === undefined) {
      console.log(Date.now() - t, JSON.stringify(r?.counts), r?.state)
      break
    }
    await Bun.sleep(300)
  }
  const tree = (await fetch(`${node.url}/v1/tree`).then((x) => x.json())) as any
  console.log(
    tree.children.find((c: any) => c.id === 'processes').restarts,
    tree.children.find((c: any) => c.id === 'processes').children.map((c: any) => c.restarts),
  )
  await node.kill('SIGTERM')
  endProcessesIn(dataDir)
}, 300000)
