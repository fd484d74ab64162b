/** All rows, in the order of the table. */
import { cables } from './cables.ts'
import { kills } from './kills.ts'
import { redisRows } from './redis.ts'
import type { Row } from './row.ts'

export const rows: readonly Row[] = [...kills, ...redisRows, ...cables]
