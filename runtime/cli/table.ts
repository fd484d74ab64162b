/** Lists for people: columns as wide as what is in them. */
import { printable } from './report.ts'

/** Colours a cell, padded as it is; undefined: leave it. */
export type ColorOf = (cell: string, column: number) => ((text: string) => string) | undefined

/** Nothing is a dash, and no cell can write to the terminal. */
export function table(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  colorOf: ColorOf = () => undefined,
): string[] {
  const shown = rows.map((cells) =>
    cells.map((cell) => (cell === '' ? '-' : printable(cell).replace(/\s+/g, ' '))),
  )
  const widths = heading.map((title, column) =>
    Math.max(title.length, ...shown.map((cells) => cells[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[], color: ColorOf) =>
    cells
      .map((cell, column) => {
        const text = cell.padEnd(widths[column] ?? 0)
        return color(cell, column)?.(text) ?? text
      })
      .join('  ')
      .trimEnd()
  return [line(heading, () => undefined), ...shown.map((cells) => line(cells, colorOf))]
}
