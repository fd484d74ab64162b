/** The console as people use it, in a browser. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Browser } from 'playwright-core'
import { redisLetters } from '../../runtime/redis/letters.ts'
import { letterOf } from '../conformance/letters.ts'
import { hasBrowser, launchBrowser, type Opened, openPage, widths } from '../kit/browser.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { startRedis } from '../kit/redis.ts'
import { noops, type StartedNode, sleepLine, startNode } from './started-node.ts'

const patient = { timeout: 20_000, timeoutMs: 20_000 }
const waitMs = 60_000

let browser: Browser
let node: StartedNode
beforeAll(async () => {
  if (!hasBrowser) return
  browser = await launchBrowser()
  node = await startNode({ ephemeral: true })
}, waitMs)
afterAll(async () => {
  await browser?.close()
  await node?.node.stop(0)
}, waitMs)

/** Does something on the page, at the end of which it has nothing to complain of. */
async function onPage(
  path: string,
  act: (opened: Opened) => Promise<void>,
  options: Parameters<typeof openPage>[2] & { at?: string; ignored?: RegExp } = {},
): Promise<void> {
  const { at = node.url, ignored, ...context } = options
  const opened = await openPage(browser, `${at}${path}`, context, ignored)
  try {
    await act(opened)
    expect([opened.errors, opened.foreign]).toEqual([[], []])
  } finally {
    await opened.close()
  }
}

async function sayWhy({ page }: Opened, verb: string, reason: string): Promise<void> {
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Reason').fill(reason)
  await dialog.getByRole('button', { name: verb }).click()
  await dialog.waitFor({ state: 'detached' })
}

const submitted = async (lines: string) =>
  ((await (await node.submit(lines)).json()) as { run: string }).run

describe.skipIf(!hasBrowser)('in a browser', () => {
  test(
    'a node without runs says how to start one',
    async () => {
      await onPage('/', async ({ page, faults, screenshot }) => {
        await page.getByText('No run yet.').waitFor()
        expect(await page.locator('.command').innerText()).toStartWith('muster run ')
        expect(await page.getByText('OPERATIONAL').count()).toBe(1)
        const health = page.getByRole('region', { name: 'Health' })
        expect(await health.innerText()).toMatch(
          /\d+ % HEALTHY[^]*\d \(0 is best\)[^]*of 10 sensors/,
        )
        await screenshot('console-empty')
        expect(await faults()).toEqual([])
      })
    },
    waitMs,
  )

  test(
    'a run is seen to move, is cancelled with a reason, and its tasks still sum to all of them',
    async () => {
      const tasks = 4000
      const run = await submitted(sleepLine(150).repeat(tasks))
      await onPage(`/#/runs/${run}`, async (opened) => {
        const { page, screenshot, faults } = opened
        const ok = page.locator('.legend li').filter({ hasText: 'ok' }).locator('.amount')
        const amount = async () => Number((await ok.innerText()).replaceAll(',', ''))
        const before = await eventually(async () => {
          const now = await amount()
          expect(now).toBeGreaterThan(0)
          return now
        }, patient)
        await eventually(async () => expect(await amount()).toBeGreaterThan(before), patient)
        await screenshot('console-run')
        expect(await faults()).toEqual([])

        await page.getByRole('button', { name: 'Cancel run' }).click()
        await page.getByRole('button', { name: 'Cancel the run' }).click()
        expect(await page.getByRole('dialog').getByRole('alert').innerText()).toContain('Say why')
        await screenshot('console-dialog')
        expect(await faults()).toEqual([])
        await sayWhy(opened, 'Cancel the run', 'wrong hosts')
        await page.getByText('wrong hosts').waitFor()
        await page.locator('.head .badge', { hasText: 'cancelled' }).waitFor(patient)
        const amounts = await page.locator('.legend .amount').allInnerTexts()
        const all = amounts.map((text) => Number(text.replaceAll(',', '')))
        expect(all.reduce((sum, each) => sum + each, 0)).toBe(tasks)
      })
      expect(await node.get(run)).toMatchObject({ state: 'cancelled', stopReason: 'wrong hosts' })
    },
    waitMs,
  )

  test(
    'results are folded, shown task by task, and lead to the attempts of each',
    async () => {
      const failing = '{"kind":"exec","input":{"argv":["sh","-c","echo full; exit 3"]}}\n'
      const flaky = '{"kind":"fail","id":"flaky","input":{"times":1,"message":"not yet"}}\n'
      const { id } = await node.run(noops(50) + failing.repeat(7) + flaky)
      await onPage(`/#/runs/${id}`, async ({ page, screenshot, faults }) => {
        const group = page.locator('.groups > li').first()
        await group.getByText('× 7').waitFor()
        expect(await group.innerText()).toContain('exit 3')
        await screenshot('console-folded')
        await page.locator('.legend a', { hasText: 'failed' }).click()
        // Faster than any reader, the next click would meet the links of before.
        await page.locator('a.filter', { hasText: 'only failed' }).waitFor()
        await page.getByRole('link', { name: 'Task by task' }).click()
        await page.getByText('exited with 3').first().waitFor()
        expect(await page.locator('tbody tr').count()).toBe(7)
        expect(await faults()).toEqual([])
        await page.goto(`${node.url}/#/runs/${id}/57`)
        await page.getByText('not yet').waitFor()
        expect(await page.locator('tbody tr').count()).toBe(2)
        expect(await faults()).toEqual([])
      })
    },
    waitMs,
  )

  test(
    'the system is paused and resumed from the keyboard, and that is seen by everybody',
    async () => {
      const other = await openPage(browser, node.url)
      await onPage('/', async (opened) => {
        const { page, screenshot } = opened
        const pause = page.getByRole('button', { name: 'Pause system' })
        await pause.focus()
        await page.keyboard.press('Enter')
        await page.keyboard.type('disks are full')
        await page.keyboard.press('Tab')
        await page.keyboard.press('Tab')
        await page.keyboard.press('Enter')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
        for (const each of [page, other.page]) {
          await each.locator('.state .what', { hasText: /PAUSED.*disks are full/ }).waitFor(patient)
        }
        await page.getByText(/Stopped because PAUSED since .*: disks are full\./).waitFor(patient)
        await screenshot('console-paused')
        // It is the same button, and the reader is still at it.
        expect(await page.evaluate('document.activeElement.textContent')).toBe('Resume system')
        await page.keyboard.press('Enter')
        await sayWhy(opened, 'Resume the system', 'disks are empty')
        await page.locator('.state .what', { hasText: 'OPERATIONAL' }).waitFor(patient)
        await page.goto(`${node.url}/#/system`)
        await page.locator('tbody tr', { hasText: 'disks are full' }).waitFor(patient)
        expect(await opened.faults()).toEqual([])
      })
      await other.close()
    },
    waitMs,
  )

  test(
    'a node that goes away is missed, and found again when it is back',
    async () => {
      const first = await startNode({ ephemeral: true })
      const port = Number(new URL(first.url).port)
      await onPage(
        '/',
        async ({ page, screenshot }) => {
          await page.locator('.state .what', { hasText: 'OPERATIONAL' }).waitFor(patient)
          await first.node.stop(0)
          await page.locator('.lost').waitFor(patient)
          await screenshot('console-lost')
          const second = await startNode({ ephemeral: true, http: { port } })
          await page.locator('.lost').waitFor({ state: 'detached', ...patient })
          await page.close()
          await second.node.stop(0)
        },
        { at: first.url, ignored: /ERR_|Failed to load resource/ },
      )
    },
    waitMs,
  )

  test(
    'a dead letter is redriven',
    async () => {
      const redis = await startRedis()
      const client = new Redis(redis.path)
      const noop = { kind: 'noop', task: { kind: 'noop', input: {} } }
      const letters = redisLetters({ redis: client })
      await letters.put([letterOf('r-1', 0, noop), letterOf('r-1', 1, noop)])
      const durable = await startNode({ redis: { url: redis.url } })
      await onPage(
        '/#/deadletters',
        async (opened) => {
          const { page, screenshot, faults } = opened
          const rows = page.locator('tbody tr')
          await eventually(async () => expect(await rows.count()).toBe(2), patient)
          await screenshot('console-deadletters')
          expect(await faults()).toEqual([])
          await rows.first().getByRole('button', { name: 'Redrive' }).click()
          await sayWhy(opened, 'Redrive', 'mended')
          await page.locator('.said', { hasText: '1 letter redriven in r-' }).waitFor(patient)
          await eventually(async () => expect(await rows.count()).toBe(1), patient)
          await page.getByRole('link', { name: 'Runs', exact: true }).click()
          await page.getByText('mended').waitFor(patient)
          await page.locator('.badge', { hasText: 'completed' }).waitFor(patient)
        },
        { at: durable.url },
      )
      await durable.node.stop(0)
      client.disconnect()
      await redis.stop()
    },
    waitMs,
  )

  test(
    'whoever logs in with a token that may read sees everything, and no button works',
    async () => {
      const tokenFile = join(temporaryDirectory(), 'tokens')
      writeFileSync(tokenFile, 'read a-token-to-read-with\nwrite a-token-to-write-with\n')
      const guarded = await startNode({ ephemeral: true, http: { port: 0, tokenFile } })
      await onPage(
        '/',
        async ({ page, screenshot }) => {
          await page.locator('input[name=token]').fill('a-token-to-read-with')
          await page.keyboard.press('Enter')
          await page.locator('.state .what', { hasText: 'OPERATIONAL' }).waitFor(patient)
          await screenshot('console-reader')
          const pause = page.getByRole('button', { name: 'Pause system' })
          expect(await pause.getAttribute('aria-disabled')).toBe('true')
          await pause.click({ force: true })
          expect(await page.getByRole('dialog').count()).toBe(0)
        },
        // A page asked for without a token is refused before it leads to the form.
        { at: guarded.url, ignored: /401/ },
      )
      await guarded.node.stop(0)
    },
    waitMs,
  )

  test(
    'it can be read on a phone, light and dark, whatever there is to see',
    async () => {
      await node.run(noops(3000), { 'muster-reason': encodeURIComponent('a '.repeat(200)) })
      const places = ['', 'runs', 'nodes', 'escalations', 'deadletters', 'system']
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const place of places) {
          const act = async ({ page, screenshot, faults }: Opened) => {
            await page.locator('main h1').waitFor({ state: 'attached', ...patient })
            const [wide = 0, room = 0] = await page.evaluate<number[]>(
              '[document.body.scrollWidth, document.documentElement.clientWidth]',
            )
            expect(wide).toBeLessThanOrEqual(room)
            const here = await page.locator('.top nav [aria-current]').boundingBox()
            expect((here?.x ?? 0) + (here?.width ?? 0)).toBeLessThanOrEqual(room)
            await screenshot(`console-phone-${colorScheme}-${place || 'overview'}`)
            expect(await faults()).toEqual([])
          }
          await onPage(`/#/${place}`, act, { viewport: widths.phone, colorScheme })
        }
      }
    },
    waitMs,
  )

  test(
    'many runs come page by page, and a new one comes in at the top',
    async () => {
      for (let number = 0; number < 60; number += 1) await node.run(noops(1))
      await onPage('/#/runs', async ({ page }) => {
        const rows = page.locator('tbody tr')
        await eventually(async () => expect(await rows.count()).toBe(25), patient)
        const newest = await rows.first().locator('th a').innerText()
        await page.getByRole('link', { name: 'Older »' }).click()
        await eventually(async () => {
          expect(await rows.first().locator('th a').innerText()).not.toBe(newest)
          expect(await rows.count()).toBe(25)
        }, patient)
        await page.goBack()
        await eventually(async () => {
          expect(await rows.first().locator('th a').innerText()).toBe(newest)
        }, patient)
        // A new one comes in at the top.
        const { id } = await node.run(noops(1))
        await eventually(async () => {
          expect(await rows.first().locator('th a').innerText()).toBe(id)
        }, patient)
        expect(await rows.count()).toBe(25)
      })
    },
    waitMs,
  )
})

test.if(!hasBrowser)('without a browser nothing of this is tested', () => {
  expect(hasBrowser).toBe(false)
})
