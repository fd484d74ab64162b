/**
 * How soon does somebody who opens the console see it, with few runs and with many? A node in
 * memory, a browser that has never been there, and a page that is opened some times: until the
 * first paint, and until the runs are there. And what goes over the wire for it.
 *
 *   bun bench/console.bench.ts [--quick] [--json]
 */
import type { Browser } from 'playwright-core'
import { createNode } from '../runtime/index.ts'
import type { MusterNode } from '../runtime/node.ts'
import { hasBrowser, launchBrowser } from '../test/kit/browser.ts'
import { removeTemporaryDirectories, temporaryDirectory } from '../test/kit/directory.ts'
import { median, percentile } from './kit/figures.ts'
import { readOptions } from './kit/options.ts'
import { publish, type Row, say } from './kit/report.ts'

const options = readOptions()
const sizes = options.isQuick ? [10, 500] : [10, 10_000]
const rounds = options.isQuick ? 3 : 15
/** Submissions at a time while the runs are made. */
const abreast = 16
/** What the first paint may take beyond that of a word, ms: a busy machine is late with both. */
const paintLimitMs = 100

interface Visit {
  paintMs: number
  runsMs: number
  kilobytes: number
}

async function fill({ url = '' }: MusterNode, from: number, runs: number): Promise<void> {
  let next = from
  const submit = async () => {
    while (next < runs) {
      next += 1
      const headers = { 'content-type': 'application/x-ndjson' }
      const answer = await fetch(`${url}/v1/runs`, {
        method: 'POST',
        body: `{"kind":"noop","id":"${next}"}\n`,
        headers,
      })
      if (!answer.ok) throw new Error(`expected a run, got ${await answer.text()}`)
      await answer.body?.cancel()
    }
  }
  await Promise.all(Array.from({ length: abreast }, submit))
}

/** @param row what is waited for */
async function visit(browser: Browser, url: string, row?: string): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1360, height: 860 } })
  try {
    const page = await context.newPage()
    await page.goto(url)
    if (row !== undefined) await page.locator(row).first().waitFor()
    const runsMs = await page.evaluate<number>('performance.now()')
    const paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    // It is told a moment after it was.
    await page.waitForFunction(paint)
    const paintMs = await page.evaluate<number>(paint)
    const files = "['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))"
    const bytes = await page.evaluate<number>(
      `${files}.reduce((sum, { transferSize }) => sum + transferSize, 0)`,
    )
    return { paintMs, runsMs, kilobytes: bytes / 1000 }
  } finally {
    await context.close()
  }
}

async function visits(browser: Browser, url: string, row?: string): Promise<Visit[]> {
  // The first one has the script bundled.
  await visit(browser, url, row)
  const all: Visit[] = []
  for (let round = 0; round < rounds; round += 1) all.push(await visit(browser, url, row))
  return all
}

const paintsOf = (all: readonly Visit[]) => all.map(({ paintMs }) => paintMs)

/** What the browser needs on this machine, as it is now, for a page with nothing but a word. */
async function leastMs(browser: Browser): Promise<number[]> {
  const headers = { 'content-type': 'text/html' }
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: () => new Response('<!doctype html><title>least</title>least', { headers }),
  })
  try {
    return paintsOf(await visits(browser, server.url.href))
  } finally {
    await server.stop(true)
  }
}

async function measure(browser: Browser): Promise<{ rows: Row[]; faults: string[] }> {
  const rows: Row[] = []
  const faults: string[] = []
  const node = await createNode({
    ephemeral: true,
    dataDir: temporaryDirectory(),
    http: { port: 0 },
    log: { level: 'error' },
  })
  await node.start()
  try {
    const least = await leastMs(browser)
    rows.push({ what: 'a word', paintP50: median(least), paintP90: percentile(least, 0.9) })
    let before = 0
    for (const runs of sizes) {
      await fill(node, before, runs)
      before = runs
      say(`${runs} runs are there`)
      const all = await visits(browser, node.url ?? '', 'table.runs tbody tr')
      const paints = paintsOf(all)
      const paintP50 = median(paints)
      if (paintP50 > paintLimitMs + median(least)) {
        faults.push(`with ${runs} runs the first paint takes ${Math.round(paintP50)} ms`)
      }
      rows.push({
        what: `${runs} runs`,
        paintP50,
        paintP90: percentile(paints, 0.9),
        runsP50: median(all.map(({ runsMs }) => runsMs)),
        kilobytes: median(all.map(({ kilobytes }) => kilobytes)),
      })
    }
  } finally {
    await node.stop(0)
  }
  return { rows, faults }
}

if (hasBrowser) {
  const browser = await launchBrowser()
  try {
    const { rows, faults } = await measure(browser)
    await publish(
      {
        bench: 'console',
        columns: [
          { key: 'what', title: 'a page with' },
          { key: 'paintP50', title: 'first paint, p50', unit: 'ms' },
          { key: 'paintP90', title: 'p90', unit: 'ms' },
          { key: 'runsP50', title: 'runs shown, p50', unit: 'ms' },
          { key: 'kilobytes', title: 'received', unit: 'KB' },
        ],
        rows,
        notes: [
          `${rounds} visits each, of a browser that keeps nothing`,
          `limit: ${paintLimitMs} ms more than for a word`,
        ],
        faults,
      },
      options,
    )
  } finally {
    await browser.close()
    removeTemporaryDirectories()
  }
}
