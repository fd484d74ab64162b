/** Tables of figures, as Markdown. */

interface Column {
  key: string
  title: string
  digits?: number
  unit?: string
}

type Cell = string | number | undefined

const thousands = (digits: number) =>
  new Intl.NumberFormat('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })

/** The columns that some row has something in. */
export function markdownTable(
  columns: readonly Column[],
  rows: readonly Record<string, Cell>[],
): string {
  const used = columns.filter(({ key }) => rows.some((row) => row[key] !== undefined))
  const isText = ({ key }: Column) => rows.some((row) => typeof row[key] === 'string')
  const head = used.map(({ title }) => title)
  const rule = used.map((column) => (isText(column) ? '---' : '--:'))
  const body = rows.map((row) => used.map((column) => shown(row[column.key], column)))
  return [head, rule, ...body].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function shown(cell: Cell, { digits = 0, unit }: Column): string {
  if (cell === undefined) return ''
  if (typeof cell === 'string') return cell
  if (!Number.isFinite(cell)) return '?'
  const number = thousands(digits).format(cell)
  return unit === undefined ? number : `${number} ${unit}`
}
