/** The section `[store]`. */
import { z } from 'zod'
import { duration, optionalText, whole } from './key.ts'

const second = 1000

export const store = z.strictObject({
  url: optionalText(
    /^postgres(ql)?:\/\/[^\s\p{Cc}\p{Cs}]+$/u,
    'a URL beginning with postgres:// or postgresql://',
    'The PostgreSQL for results; without one they are in SQLite in the data directory.',
    { example: 'postgres://muster@127.0.0.1:5432/muster', secret: true },
  ),
  connectionsMax: whole(
    4,
    { min: 1, max: 1000 },
    'Connections of this node to that PostgreSQL at most.',
  ),
  timeoutMs: duration(
    30 * second,
    { min: 100, max: 600 * second },
    'How long PostgreSQL may take to store a batch or to find a page of results.',
  ),
})
