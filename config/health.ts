/** The keys of `[health]`. */
import { z } from 'zod'
import { duration, fraction, whole } from './key.ts'

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const scoreMax = 1_000_000

export const health = z.strictObject({
  windowMs: duration(
    15 * second,
    { min: 5 * second, max: minute },
    'Of the present state of health only what was measured so lately counts.',
  ),
  degradedScore: whole(
    400,
    { min: 1, max: scoreMax },
    'Score from which on the status is DEGRADED, and a node that stays there reflects.',
  ),
  criticalScore: whole(1200, { min: 1, max: scoreMax }, 'Score from which on it is CRITICAL.'),
  collapseScore: whole(2500, { min: 1, max: scoreMax }, 'Score from which on it is COLLAPSE_RISK.'),
  blockedShareMax: fraction(
    0.2,
    { min: 0.01, max: 1 },
    'Share of the window that an event loop may stand still before its delays count.',
  ),
  redisSlowMs: duration(
    2 * second,
    { min: 1, max: minute },
    'A Redis that takes longer to answer makes the node DEGRADED.',
  ),
  logQueueShareMax: fraction(
    0.8,
    { min: 0.01, max: 1 },
    'Share of log.queueMax that may wait before the node is DEGRADED.',
  ),
  highWaterBytes: whole(
    0,
    { min: 16 * 1_048_576, max: 2 ** 50, zeroToo: true },
    'Memory of this node above which it takes no new work; 0 is highWaterShare.',
  ),
  highWaterShare: fraction(
    0.75,
    { min: 0.05, max: 1 },
    'The same as a share of what the machine or its cgroup has.',
  ),
  lowWaterShare: fraction(
    0.9,
    { min: 0.1, max: 0.99 },
    'Share of the high-water mark below which it takes work again.',
  ),
  collectApartMs: duration(
    30 * second,
    { min: second, max: hour },
    'How often it collects garbage while it holds too much.',
  ),
  worsenMs: duration(
    3 * second,
    { min: 0, max: hour },
    'How long something has to be wrong before the node is DEGRADED, or reflects.',
  ),
  mendMs: duration(
    10 * second,
    { min: 0, max: hour },
    'How long all has to be well before a DEGRADED node is OPERATIONAL again.',
  ),
  settleMs: duration(2 * second, { min: 0, max: hour }, 'How long RECOVERY lasts at least.'),
  bootMs: duration(
    30 * second,
    { min: second, max: hour },
    'A start that takes longer ends in DEGRADED.',
  ),
  reflectApartMs: duration(
    5 * minute,
    { min: second, max: 24 * hour },
    'Between two times that a node reflects unasked.',
  ),
})
