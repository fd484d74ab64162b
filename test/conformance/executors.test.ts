import { afterAll } from 'bun:test'
import { fileURLToPath } from 'node:url'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { HttpOutput } from '../../actors/http-input.ts'
import { loadConfig } from '../../config/load.ts'
import { kindsOf } from '../../runtime/kinds.ts'
import { readTasksFile } from '../../runtime/tasks-file.ts'
import { type ExecutorUnderTest, executorSuite } from './executors.ts'

const { config } = loadConfig({ fileValues: {}, fileName: 'test', env: {} })
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const file = fileURLToPath(new URL('../kit/handlers.tasks.ts', import.meta.url))
const { tasks } = await readTasksFile(file)
const kinds = kindsOf(tasks, config.worker, silent)

const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === '/no') return new Response('', { status: 500 })
    if (pathname === '/lasts') return new Promise<Response>(() => undefined)
    return new Response(pathname.slice(1))
  },
})
afterAll(() => server.stop(true))
const url = (path: string) => ({ url: `http://127.0.0.1:${server.port}/${path}` })

function executorOf(kind: string) {
  const found = kinds.get(kind)
  if (found === undefined) throw new Error(`expected a kind ${kind}`)
  return { name: kind, executor: found.executor }
}

for (const place of ['inline', 'thread', 'process']) {
  const subject = (): ExecutorUnderTest => ({
    ...executorOf(`kit.${place}`),
    says: (value) => ({ does: 'echo', value }),
    told: ({ output }) => output,
    refuses: { input: { does: 'throw' }, code: 'SAID_NO' },
    lasts: { does: 'wait' },
    unfit: { does: 'nothing known' },
  })
  executorSuite(subject, `a handler in ${place}`)
}

executorSuite(
  () => ({
    ...executorOf('exec'),
    says: (word) => ({ argv: ['printf', '%s', word] }),
    told: ({ output }) => (output as ExecOutput).stdout,
    refuses: { input: { argv: ['sh', '-c', 'exit 3'] }, code: 'EXIT' },
    lasts: { argv: ['sleep', '60'] },
    unfit: { argv: 'uname -r' },
  }),
  'exec',
)

executorSuite(
  () => ({
    ...executorOf('http'),
    says: url,
    told: ({ output }) => (output as HttpOutput).body,
    refuses: { input: url('no'), code: 'HTTP_STATUS' },
    lasts: url('lasts'),
    unfit: { url: 'nowhere' },
  }),
  'http',
)
