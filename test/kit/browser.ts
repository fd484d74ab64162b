/** Debian's Chromium for the tests of pages: what it complains of, and whom it asks, is kept. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

const program = Bun.which('chromium') ?? Bun.which('chromium-browser') ?? undefined
const folder = join(import.meta.dir, '..', '..', '.muster', 'screenshots')
const axe = fileURLToPath(import.meta.resolve('axe-core/axe.min.js'))

/** Whether there is a browser; where there is none, why not is printed once. */
export const hasBrowser = program !== undefined
if (!hasBrowser) console.log('skipped: there is no chromium here (apt-get install chromium)')

export const widths = { desktop: { width: 1360, height: 860 }, phone: { width: 390, height: 844 } }

export interface Opened {
  page: Page
  /** Errors on the console, and those nobody caught. */
  errors: string[]
  /** Requests to any origin but that of the page. */
  foreign: string[]
  /** Into .muster/screenshots, which is not committed. */
  screenshot(name: string): Promise<void>
  /** What axe-core finds to be serious or worse: rule, and where. */
  faults(): Promise<string[]>
  close(): Promise<void>
}

/** The browser is started once for a test file; it has to be closed. */
export async function launchBrowser(): Promise<Browser> {
  if (program === undefined) throw new Error('expected a chromium, there is none')
  return chromium.launch({
    executablePath: program,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  })
}

/** @param ignored errors that a test brings about itself */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
  ignored = /^$/,
): Promise<Opened> {
  // Scripts of axe-core are put in by the test, past the page's own policy.
  const context = await browser.newContext({
    viewport: widths.desktop,
    ...options,
    bypassCSP: false,
  })
  const page = await context.newPage()
  const errors: string[] = []
  const foreign: string[] = []
  const { origin } = new URL(url)
  const complain = (words: string) => {
    if (!ignored.test(words)) errors.push(words)
  }
  page.on('console', (message) => {
    if (message.type() === 'error') complain(`${message.text()} (${message.location().url})`)
  })
  page.on('pageerror', (error) => complain(String(error)))
  page.on('request', (request) => {
    const asked = request.url()
    const isLocal = /^(data|blob|about):/.test(asked) || new URL(asked).origin === origin
    if (!isLocal) foreign.push(asked)
  })
  await page.goto(url)
  return {
    page,
    errors,
    foreign,
    async screenshot(name) {
      mkdirSync(folder, { recursive: true })
      await page.screenshot({ path: join(folder, `${name}.png`) })
    },
    async faults() {
      await page.evaluate(readFileSync(axe, 'utf8'))
      return page.evaluate(async () => {
        const { axe: tester } = globalThis as unknown as { axe: AxeCore }
        const { violations } = await tester.run()
        return violations
          .filter(({ impact }) => impact === 'serious' || impact === 'critical')
          .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(' ')}`))
      })
    },
    close: () => context.close(),
  }
}

interface AxeCore {
  run(): Promise<{
    violations: { id: string; impact: string | null; nodes: { target: string[] }[] }[]
  }>
}
