/** All rows, in the order of the table. */
import { cables } from './cables.ts'
import { flow } from './flow.ts'
import { handlers } from './handlers.ts'
import { kills } from './kills.ts'
import { redisRows } from './redis.ts'
import { repeatedKills } from './repeated-kills.ts'
import type { Row } from './row.ts'

export const rows: readonly Row[] = [
  ...kills,
  repeatedKills,
  ...redisRows,
  ...cables,
  ...handlers,
  ...flow,
]
