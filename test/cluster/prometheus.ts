/** A real Prometheus that scrapes nodes of the test, where the machine has the program. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'

export interface Prometheus {
  url: string
  /** The number that a query gives now; undefined for none. */
  value(promql: string): Promise<number | undefined>
  stop(): Promise<void>
}

const running = new Set<Bun.Subprocess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

const program = Bun.which('prometheus')
export const hasPrometheus = program !== null
// 100 MB from a cold disk, read once now: while nodes of a test run, they would wait for it too.
if (program !== null) await Bun.file(program).bytes()
if (!hasPrometheus) {
  console.log('skipped: no prometheus on this machine (Debian: apt-get install -y prometheus)')
}

/** Resolves when it is well. @param targets base URLs of nodes, scraped twice a second */
export async function startPrometheus(targets: readonly string[]): Promise<Prometheus> {
  const folder = temporaryDirectory()
  const config = {
    global: { scrape_interval: '500ms', scrape_timeout: '500ms' },
    scrape_configs: [
      {
        job_name: 'muster',
        static_configs: [{ targets: targets.map((url) => new URL(url).host) }],
      },
    ],
  }
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const child = Bun.spawn(
    [
      'prometheus',
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
    ],
    { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  running.add(child)
  let said = ''
  const reading = (async () => {
    const decoder = new TextDecoder()
    for await (const bytes of child.stderr) said += decoder.decode(bytes, { stream: true })
  })()
  const stop = async () => {
    child.kill('SIGKILL')
    await child.exited
    await reading
    running.delete(child)
  }
  try {
    const url = await eventually(
      async () => {
        const port = /msg="Listening on" address=127\.0\.0\.1:(\d+)/.exec(said)?.[1]
        if (port === undefined) throw new Error(`Prometheus does not listen yet: ${said}`)
        const at = `http://127.0.0.1:${port}`
        const { ok } = await fetch(`${at}/-/ready`)
        if (!ok) throw new Error('Prometheus is not ready yet')
        return at
      },
      { timeoutMs: 40_000 },
    )
    return { url, stop, value: (promql) => valueOf(url, promql) }
  } catch (error) {
    await stop()
    throw error
  }
}

async function valueOf(url: string, promql: string): Promise<number | undefined> {
  const answer = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(promql)}`)
  const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } }
  const text = data.result[0]?.value[1]
  return text === undefined ? undefined : Number(text)
}
