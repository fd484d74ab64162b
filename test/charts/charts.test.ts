import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AnyStateNode } from 'xstate'
import { chartsFolder, drawAll } from './drawn.ts'
import { machines } from './machines.ts'

test('the charts are those of the machines as they are; else: npm run charts', async () => {
  const drawn = await drawAll()
  expect(readdirSync(chartsFolder).toSorted()).toEqual([...drawn.keys()].toSorted())
  const stale = [...drawn].filter(
    ([file, svg]) => readFileSync(join(chartsFolder, file), 'utf8') !== svg,
  )
  expect(stale.map(([file]) => file)).toEqual([])
})

test('every state of every machine is in its chart, under the path a snapshot has', async () => {
  const pathsOf = (node: AnyStateNode): string[] => [
    node.path.join('.'),
    ...Object.values(node.states).flatMap(pathsOf),
  ]
  for (const machine of await machines()) {
    const svg = readFileSync(join(chartsFolder, `${machine.id}.svg`), 'utf8')
    const drawn = [...svg.matchAll(/data-path="([^"]*)"/g)].map(([, path]) => path)
    expect(new Set(drawn)).toEqual(new Set(pathsOf(machine.root)))
  }
})

test('charts bring no style and no script of their own, which the page would not let in', () => {
  for (const file of readdirSync(chartsFolder)) {
    expect(readFileSync(join(chartsFolder, file), 'utf8')).not.toMatch(/<style|style=|<script|href/)
  }
})
