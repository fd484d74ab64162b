/** The statecharts as they are drawn now. */
import { join } from 'node:path'
import { chartOf } from './graph.ts'
import { layOut } from './layout.ts'
import { machines } from './machines.ts'
import { svgOf } from './svg.ts'

export const chartsFolder = join(
  import.meta.dir,
  '..',
  '..',
  'runtime',
  'http',
  'inspect',
  'charts',
)

/** SVG by name of file. */
export async function drawAll(): Promise<Map<string, string>> {
  const drawn = new Map<string, string>()
  for (const machine of await machines()) {
    drawn.set(`${machine.id}.svg`, svgOf(await layOut(chartOf(machine))))
  }
  return drawn
}
