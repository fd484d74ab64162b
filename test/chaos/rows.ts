/** All rows, in the order of the table. */
import { kills } from './kills.ts'
import type { Row } from './row.ts'

export const rows: readonly Row[] = [...kills]
