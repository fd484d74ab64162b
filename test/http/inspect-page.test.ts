import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Browser } from 'playwright-core'
import type { TreeNode } from '../../actors/tree.ts'
import { hasBrowser, launchBrowser, openPage, widths } from '../kit/browser.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { type RedisServer, startRedis } from '../kit/redis.ts'
import { noops, type StartedNode, sleepLine, startNode } from '../runtime/started-node.ts'

describe.skipIf(!hasBrowser)('in a browser', () => {
  let redis: RedisServer
  let node: StartedNode
  let browser: Browser
  beforeAll(async () => {
    redis = await startRedis()
    node = await startNode({ redis: { url: redis.url }, node: { id: 'n-1' } })
    browser = await launchBrowser()
  })
  afterAll(async () => {
    await browser.close()
    await node.node.stop()
    await redis.stop()
  })

  const clean = async (opened: Awaited<ReturnType<typeof openPage>>) => ({
    errors: opened.errors,
    foreign: opened.foreign,
    faults: await opened.faults(),
  })
  const nothing = { errors: [], foreign: [], faults: [] }
  const pathsOf = ({ path, children }: TreeNode): string[] => [path, ...children.flatMap(pathsOf)]

  test('every actor is seen, and its active state changes as it works', async () => {
    const opened = await openPage(browser, `${node.url}/inspect#/n-1/workers/work.sleep`)
    const { page } = opened
    const item = page.locator('.item[data-path="/n-1/workers/work.sleep"]')
    await page.locator('.chart .state[data-path="receiving.idle"].active').waitFor()
    expect(await item.getAttribute('aria-selected')).toBe('true')
    const tree = (await (await node.ask('/v1/tree')).json()) as TreeNode
    await eventually(async () => {
      expect(Number(await page.locator('#count').textContent())).toBe(pathsOf(tree).length)
    })
    const run = node.run(sleepLine(1500))
    await page.locator('.chart .state[data-path="receiving.busy"].active').waitFor()
    expect(await page.locator('.chart .state[data-path="receiving.idle"].active').count()).toBe(0)
    expect(await item.locator('.badge').textContent()).toBe('receiving.busy')
    await page.locator('.log li', { hasText: 'envelope.received' }).first().waitFor()
    await page.locator('#context summary').click()
    await page.locator('#context-text', { hasText: '"envelopes": 1' }).waitFor()
    await opened.screenshot('inspect-busy')
    await run
    await page.locator('.chart .state[data-path="receiving.idle"].active').waitFor()
    expect(await clean(opened)).toEqual(nothing)
    await opened.close()
  })

  test.each([
    ['light', 'phone'],
    ['dark', 'phone'],
    ['dark', 'desktop'],
  ] as const)('the page is in order: %s, %s', async (colorScheme, size) => {
    const viewport = widths[size]
    const opened = await openPage(browser, `${node.url}/inspect`, { colorScheme, viewport })
    await opened.page.locator('.chart .state.active').first().waitFor()
    const wide = await opened.page.evaluate('document.documentElement.scrollWidth')
    expect(wide).toBeLessThanOrEqual(viewport.width)
    await opened.screenshot(`inspect-${colorScheme}-${size}`)
    expect(await clean(opened)).toEqual(nothing)
    await opened.close()
  })

  test('it is used by the keyboard alone', async () => {
    const opened = await openPage(browser, `${node.url}/inspect`)
    const { page } = opened
    await page.locator('.tree .item[aria-selected="true"]').waitFor()
    await page.locator('#tree').focus()
    const chosen = () => page.locator('#detail-title').textContent()
    await page.keyboard.press('ArrowDown')
    const { children } = (await (await node.ask('/v1/tree')).json()) as TreeNode
    expect(await chosen()).toBe(children[0]?.path ?? '')
    await page.keyboard.press('End')
    expect(await chosen()).toBe(children.at(-1)?.path ?? '')
    await page.keyboard.press('Home')
    const before = await page.locator('.tree .item').count()
    await page.keyboard.press('ArrowLeft')
    expect(await page.locator('.tree .item').count()).toBe(1)
    await page.keyboard.press('ArrowRight')
    expect(await page.locator('.tree .item').count()).toBe(before)
    await page.locator('#filter').fill('work.no')
    await eventually(async () => {
      const paths = await page.locator('.tree .item').evaluateAll((items) => {
        return items.map((item) => item.getAttribute('data-path'))
      })
      expect(paths).toEqual(['/n-1', '/n-1/workers', '/n-1/workers/work.noop'])
    })
    await opened.close()
  })

  test('a thousand actors are a few rows in sight', async () => {
    const opened = await openPage(browser, 'about:blank')
    const { page } = opened
    const leaf = (path: string): TreeNode => {
      const id = path.slice(path.lastIndexOf('/') + 1)
      return { path, id, state: 'running', incarnation: 1, restarts: 0, pid: 1, children: [] }
    }
    const groups = Array.from({ length: 20 }, (_, group) => ({
      ...leaf(`/n-1/g${group}`),
      children: Array.from({ length: 50 }, (_none, index) => leaf(`/n-1/g${group}/a${index}`)),
    }))
    const body = JSON.stringify({ ...leaf('/n-1'), children: groups })
    await page.route('**/v1/tree', (route) => route.fulfill({ body }))
    await page.goto(`${node.url}/inspect`)
    await page.locator('.tree .item').nth(20).waitFor()
    expect(await page.locator('#count').textContent()).toBe('1021')
    expect(await page.locator('.tree .item').count()).toBe(21)
    const startedAt = performance.now()
    await page.locator('#filter').fill('/a')
    await page.locator('.tree .item', { hasText: 'a3' }).first().waitFor()
    await page.locator('#tree').press('End')
    await page.locator('.item[data-path="/n-1/g19/a49"]').waitFor()
    expect(performance.now() - startedAt).toBeLessThan(10_000)
    expect(await page.locator('.tree .item').count()).toBeLessThan(80)
    await opened.close()
  })

  test('with a token: after the login it is live, by the cookie', async () => {
    const tokenFile = join(temporaryDirectory(), 'tokens')
    writeFileSync(tokenFile, 'read reader-token-0001\n', { mode: 0o600 })
    const guarded = await startNode({ ephemeral: true, http: { port: 0, tokenFile } })
    const opened = await openPage(browser, `${guarded.url}/inspect`)
    await opened.page.locator('#token').fill('reader-token-0001')
    await opened.page.locator('button').first().click()
    await opened.page.locator('.chart .state.active').first().waitFor()
    await opened.page.locator('#connection', { hasText: /^live$/ }).waitFor()
    expect([opened.errors, opened.foreign]).toEqual([[], []])
    await opened.close()
    await guarded.node.stop()
  })

  test('the board shows the mailboxes, and asks nobody else', async () => {
    await node.run(noops(1))
    const opened = await openPage(browser, `${node.url}/board`)
    await opened.page.getByText('work.noop').first().waitFor()
    await opened.page.getByText('Loading').waitFor({ state: 'detached' })
    await opened.screenshot('board')
    expect([opened.errors, opened.foreign]).toEqual([[], []])
    await opened.close()
  })
})
