import { expect, test } from 'bun:test'
import { loadConfig } from '../../config/load.ts'
import { listSource } from '../../runtime/intake.ts'
import { kindsOf } from '../../runtime/kinds.ts'

const { config } = loadConfig({ fileValues: {}, env: {} })
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const kinds = kindsOf([], config.worker, silent)

/** What is said of one line: `path: message`, or that it was accepted. */
async function verdict(line: string): Promise<string> {
  for await (const { read } of listSource([JSON.parse(line)], kinds)(0)) {
    const [only] = read
    if (only?.rejection !== undefined) return `${only.rejection.path}: ${only.rejection.message}`
    if (only !== undefined) return 'accepted'
  }
  return 'nothing'
}

test.each([
  ['a target like an option', '{"kind":"noop","target":"-oX=y"}', 'target: expected the', '-oX'],
  ['a target with blanks', '{"kind":"noop","target":"a b"}', 'target: expected the', '"a b"'],
  [
    'a target and a placement',
    '{"kind":"noop","target":"a","placement":"all"}',
    'placement: expected "any" beside a target',
    'got "all"',
  ],
  [
    'a target and labels',
    '{"kind":"noop","target":"a","select":{"b":"c"}}',
    'select: expected none beside a target',
    'got',
  ],
  [
    'shards without a key',
    '{"kind":"noop","placement":"sharded"}',
    'key: expected a key beside placement "sharded"',
    'got nothing',
  ],
  [
    'shards with labels',
    '{"kind":"noop","placement":"sharded","key":"k","select":{"b":"c"}}',
    'select: expected no labels beside placement "sharded"',
    'got',
  ],
  [
    'a key that may go to several nodes',
    '{"kind":"noop","placement":"balanced","key":"k"}',
    'key: expected no key beside placement "balanced"',
    'got "k"',
  ],
  [
    'a key beside labels',
    '{"kind":"noop","select":{"b":"c"},"key":"k"}',
    'key: expected no key beside select',
    'got "k"',
  ],
  [
    'one dedupeKey for several tasks',
    '{"kind":"noop","placement":"all","dedupeKey":"k"}',
    'dedupeKey: expected none beside placement "all"',
    'got "k"',
  ],
  [
    'a label that would be lost',
    '{"kind":"noop","select":{"__proto__":"x"}}',
    'select.__proto__: expected another name',
    'got',
  ],
])('a place that cannot be is rejected: %s', async (_what, line, begins, has) => {
  const said = await verdict(line)
  expect(said.slice(0, begins.length)).toBe(begins)
  expect(said).toContain(has)
})

test.each([
  '{"kind":"noop","target":"web001","key":"web001"}',
  '{"kind":"noop","target":"root@db-1.lan:2222"}',
  '{"kind":"noop","target":"rack=r1"}',
  '{"kind":"noop","placement":"any","key":"k"}',
  '{"kind":"noop","placement":"sharded","key":"k"}',
  '{"kind":"noop","placement":"balanced","select":{"rack":"r1"},"dedupeKey":"d"}',
  '{"kind":"noop","placement":"all","id":"everywhere"}',
])('a place that can be is accepted: %s', async (line) => {
  expect(await verdict(line)).toBe('accepted')
})
