/** Endpoints that are asked whether they are well: where, and how often. */
import { duration, optionalText, whole } from './key.ts'

const second = 1000
const hour = 3_600_000

/** A key of each host. */
export const hostProbe = {
  probe: optionalText(
    /^https?:\/\/[^\s\p{Cc}\p{Cs}]+$/u,
    'a URL beginning with http:// or https://',
    'What is asked, again and again, whether the host is well: an answer 200 to 299 says so.',
    { example: 'http://192.0.2.17:8080/health' },
  ),
}

/** Keys of `[member]`. */
export const probing = {
  probeMs: duration(
    30 * second,
    { min: 100, max: hour },
    'How often a host is probed; a third of it while it wavers, twice when it is steady.',
  ),
  probeTimeoutMs: duration(
    2500,
    { min: 10, max: 60 * second },
    'How long a host may take to answer a probe.',
  ),
  probeFailures: whole(
    3,
    { min: 1, max: 100 },
    'Failed probes in a row after which a host is offline.',
  ),
  probeCooldownMs: duration(
    300 * second,
    { min: second, max: 24 * hour },
    'How long a host that is offline is not to be used, unless it answers again.',
  ),
  probeConcurrency: whole(64, { min: 1, max: 10_000 }, 'Probes under way at a time.'),
}
