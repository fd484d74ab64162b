/**
 * Draws every statechart into runtime/http/inspect/charts, where the page `/inspect` finds it:
 *
 *   npm run charts
 *
 * To be run whenever a machine changes; a test says so.
 */
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chartsFolder, drawAll } from './drawn.ts'

const drawn = await drawAll()
for (const file of readdirSync(chartsFolder)) {
  if (file.endsWith('.svg') && !drawn.has(file)) rmSync(join(chartsFolder, file))
}
for (const [file, svg] of drawn) writeFileSync(join(chartsFolder, file), svg)
console.log(`${drawn.size} charts in ${chartsFolder}`)
