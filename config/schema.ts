/**
 * Every number and name someone may change: its default, its bounds and what it is for. This tree
 * is the only list of keys; the loader, `init`, `--print-config` and the environment read it.
 */
import { z } from 'zod'
import { container } from './container.ts'
import { execution } from './execution.ts'
import { health } from './health.ts'
import {
  choice,
  duration,
  fraction,
  itemNames,
  labels,
  number,
  optionalText,
  someOf,
  text,
  whole,
} from './key.ts'
import { hostProbe, probing } from './probe.ts'
import { store } from './store.ts'

const second = 1000
const hour = 3_600_000
const day = 24 * hour
const mebibyte = 1_048_576

const node = z.strictObject({
  id: optionalText(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
    "1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
    'Name of this node, unique in the fleet; chosen for you when it is not set.',
    { example: 'node-1' },
  ),
  roles: someOf(['dispatcher', 'worker', 'collector'], 'What this node does.'),
  labels: labels('What tasks may select this node by, as in { rack = "r1" }.'),
})

const redis = z.strictObject({
  url: optionalText(
    /^(redis|rediss|unix|redis-cluster|redis-sentinel):\/\/[^\s\p{Cc}\p{Cs}]+$/u,
    'a URL beginning with redis://, rediss://, unix://, redis-cluster:// or redis-sentinel://',
    'The Redis to use; without one the node brings up its own in the data directory.',
    { example: 'redis://127.0.0.1:6379', secret: true },
  ),
  durability: choice(
    ['everysec', 'always'],
    'everysec',
    'When the own Redis syncs its file: every second, or always before it answers.',
  ),
  maxMemoryBytes: whole(
    0,
    { min: mebibyte, max: 2 ** 50, zeroToo: true },
    'Where the own Redis refuses to grow; 0 is no limit.',
  ),
  memoryCloseShare: fraction(
    0.8,
    { min: 0.1, max: 0.95 },
    'Share of its memory limit from which on no new work is let in, whichever Redis it is.',
  ),
  hashSlots: whole(
    0,
    { min: 0, max: 256 },
    'Hash slots of a Redis Cluster in use, the same for all nodes; 0: as it is, or 8 at first.',
  ),
})

const http = z.strictObject({
  host: text(
    '127.0.0.1',
    /^[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}$/,
    'a host name or an address to listen on',
    'Address to listen on; any but loopback needs a token.',
  ),
  port: whole(7070, { min: 0, max: 65_535 }, 'Port to listen on; 0 takes any that is free.'),
  tokenFile: optionalText(
    /^[^\p{Cc}\p{Cs}]+$/u,
    'the path of a file',
    'File of tokens, of which every request must bring one: lines "write TOKEN" or "read TOKEN".',
    { example: './muster.token' },
  ),
  statelyBridge: choice(
    ['off', 'on'],
    'off',
    "Whether /inspect/stately may show the actors to Stately's inspector, a page of others.",
  ),
  rate: whole(
    5000,
    { min: 1, max: 1_000_000 },
    'Requests a second that one address gets answered.',
  ),
  burst: whole(10_000, { min: 1, max: 1_000_000 }, 'Requests at once after a quiet time.'),
  requestsMax: whole(1000, { min: 10, max: 1_000_000 }, 'Requests under way at most.'),
  bodyMs: duration(
    30 * second,
    { min: 100, max: hour },
    'How long a body may take to arrive that is no stream of lines.',
  ),
  streamSilenceMs: duration(
    hour,
    { min: 100, max: day },
    'Silence after which a submission that is a stream of lines is broken off.',
  ),
  idleMs: duration(
    60 * second,
    { min: 8 * second, max: 240 * second },
    'After so long a connection is closed on which nothing moves, or whose reader takes nothing.',
  ),
})

const dispatcher = z.strictObject({
  rate: whole(
    1_000_000,
    { min: 1, max: 1_000_000_000 },
    'Tasks admitted a second; the system state multiplies it.',
    { cautious: 5000 },
  ),
  burst: whole(
    100_000,
    { min: 1, max: 1_000_000_000 },
    'Tasks admitted at once after a quiet time.',
    { cautious: 10_000 },
  ),
  queueMax: whole(20_000, { min: 1, max: 10_000_000 }, 'Tasks in flight at most.'),
  spoolMax: whole(
    200_000,
    { min: 0, max: 1_000_000_000 },
    'Tasks accepted beyond those in flight, kept in Redis until there is room.',
  ),
  balancer: choice(
    ['weighted', 'cost-latency', 'least-loaded', 'round-robin', 'random'],
    'weighted',
    'How a node is chosen for tasks that any of several may run (placement "balanced", select).',
  ),
  unservedMs: duration(
    60 * second,
    { min: 100, max: day },
    'How long tasks wait for a node that could run them before they end as unreached.',
  ),
  whenFull: choice(
    ['refuse', 'wait'],
    'refuse',
    'What a new run meets when there is no room: refused (HTTP 429), or its turn later.',
  ),
})

const worker = z.strictObject({
  processes: whole(
    0,
    { min: 0, max: 64 },
    'Worker processes of this node; 0 runs its tasks in the process of the node itself.',
  ),
  processSilenceMs: duration(
    15 * second,
    { min: 2 * second, max: hour },
    'Silence of its event loop that gets a worker process killed; after 3/4 it is asked to stop.',
  ),
  concurrency: whole(64, { min: 1, max: 10_000 }, 'Handlers that wait (io) running at a time.'),
  commandConcurrency: whole(
    0,
    { min: 0, max: 10_000 },
    'Commands, and handlers that compute (cpu), running at a time; 0 is one a core.',
  ),
  envelopeMs: duration(
    250,
    { min: 1, max: 60 * second },
    'Work that tasks travelling together should make up.',
  ),
  envelopeTasksMax: whole(
    1000,
    { min: 1, max: 10_000 },
    'Tasks travelling together at most; fewer when queueMax or depthMax is smaller.',
  ),
  envelopeBytesMax: whole(
    262_144,
    { min: 1024, max: 16 * mebibyte },
    'Size of tasks travelling together at most.',
  ),
  lingerMs: duration(
    4,
    { min: 0, max: second },
    'How long a task waits for others to travel with.',
  ),
  attempts: whole(6, { min: 1, max: 100 }, 'Tries a handler gets, the first included.'),
  retryBaseMs: duration(
    500,
    { min: 1, max: hour },
    'Wait before the second try; it doubles with every further try.',
  ),
  retryCapMs: duration(30 * second, { min: 1, max: day }, 'Wait between two tries at most.'),
  handlerTimeoutMs: duration(120 * second, { min: 1, max: day }, 'Time limit of a handler.'),
  commandSoftKillMs: duration(
    30 * second,
    { min: 1, max: day },
    'When a command gets SIGTERM, from its start.',
  ),
  commandHardKillMs: duration(
    60 * second,
    { min: 1, max: day },
    'When a command gets SIGKILL, from its start.',
  ),
  sshConcurrency: whole(
    64,
    { min: 1, max: 10_000 },
    'Commands on hosts that run no node, over ssh, running at a time.',
  ),
  sshPerHost: whole(1, { min: 1, max: 1000 }, 'The same on one host, at a time from this node.'),
  sshConnectMs: duration(
    10 * second,
    { min: second, max: 600 * second },
    'How long a host may take to answer before it is unreached; whole seconds.',
  ),
  sshHosts: choice(
    ['any', 'listed'],
    'any',
    'Targets reached over ssh: any name that is no node, or only those listed in [hosts].',
  ),
  sshConfig: optionalText(
    /^[^\p{Cc}\p{Cs}]+$/u,
    'the path of a file',
    "Configuration of ssh in place of the user's own and the system's.",
    { example: './ssh_config' },
  ),
  ...container,
  ...execution,
  outputBytesMax: whole(
    mebibyte,
    { min: 1024, max: 16 * mebibyte },
    "Bytes kept of a task's output, of stdout and of stderr each.",
  ),
  hangGraceMs: duration(
    30 * second,
    { min: 100, max: hour },
    'Time beyond its limit after which a task that makes no progress is given up with its worker.',
  ),
})

const mailbox = z.strictObject({
  depthMax: whole(200_000, { min: 1, max: 100_000_000 }, 'Tasks in one mailbox at most.'),
  topicDepthMax: whole(
    100_000,
    { min: 1, max: 100_000_000 },
    'Messages one durable subscription may have waiting; beyond that publishing is refused.',
  ),
  lockMs: duration(
    15 * second,
    { min: 500, max: hour },
    'Without a sign of life for so long, a worker loses the work at hand.',
  ),
  stalledIntervalMs: duration(
    5 * second,
    { min: 100, max: hour },
    'How often to look for work whose worker is gone.',
  ),
  keyPartitions: whole(
    16,
    { min: 1, max: 100 },
    'Ordered queues a kind; change it only while no keyed task is pending.',
  ),
  shards: whole(
    16,
    { min: 1, max: 1000 },
    'Shards of a kind, for placement "sharded"; change it only while no such task is pending.',
  ),
  nameKeepMs: duration(
    hour,
    { min: second, max: 720 * hour },
    'How long the empty mailboxes of a node that is gone are still listed.',
  ),
})

const collector = z.strictObject({
  batchMax: whole(64, { min: 1, max: 1000 }, 'Envelopes of results accounted for at a time.'),
  hangMs: duration(
    30 * second,
    { min: 100, max: hour },
    'Time without progress after which a collector that has results at hand is restarted.',
  ),
})

const lease = z.strictObject({
  ttlMs: duration(10 * second, { min: 500, max: hour }, 'How long leadership lasts unrenewed.'),
  renewMs: duration(3333, { min: 50, max: hour }, 'How often leadership is renewed.'),
  operationTimeoutMs: duration(
    second,
    { min: 50, max: 60 * second },
    'How long one operation on a lease may take.',
  ),
})

const member = z.strictObject({
  heartbeatMs: duration(10 * second, { min: 100, max: hour }, 'How often a node says it is there.'),
  staleMs: duration(30 * second, { min: 200, max: day }, 'Silence after which a node is dead.'),
  ...probing,
})

const escalation = z.strictObject({
  windowMs: duration(60 * second, { min: second, max: day }, 'Time over which bad outcomes count.'),
  buckets: whole(12, { min: 1, max: 1000 }, 'Parts the window moves on by.'),
  threshold: whole(
    500,
    { min: 1, max: 1_000_000_000 },
    'Bad outcomes of a kind in the window that open an escalation.',
  ),
})

const log = z.strictObject({
  level: choice(['debug', 'info', 'warn', 'error'], 'info', 'The least that is logged.'),
  queueMax: whole(100_000, { min: 100, max: 10_000_000 }, 'Lines waiting to be written at most.'),
  flushMs: duration(500, { min: 1, max: 60 * second }, 'How long a line waits to be written.'),
  flushBytes: whole(
    4 * mebibyte,
    { min: 1024, max: 1024 * mebibyte },
    'Bytes that are written without waiting longer; fewer when fileBytesMax is smaller.',
  ),
  fileBytesMax: whole(
    100 * mebibyte,
    { min: 1024, max: 2 ** 40 },
    'Size at which a file is put aside and a new one begun.',
  ),
  filesMax: whole(10, { min: 1, max: 1000 }, 'Files put aside and kept.'),
})

const limits = z.record(
  itemNames.limit,
  z.strictObject({
    rate: number({ min: 0.001, max: 1_000_000_000 }, 'Tasks a second.'),
    burst: number({ min: 1, max: 1_000_000_000 }, 'Tasks at once after a quiet time.'),
  }),
)

const hosts = z.record(
  itemNames.host,
  z.strictObject({
    address: optionalText(
      /^[^\s\p{Cc}\p{Cs}-][^\s\p{Cc}\p{Cs}]{0,254}$/u,
      "an address without blanks that does not begin with '-'",
      'Where the host is reached over ssh, if not by its name: [user@]host[:port].',
      { example: '192.0.2.17' },
    ),
    labels: labels('What tasks may select this host by.'),
    ...hostProbe,
  }),
)

/** Each section with the sentence printed above it; an example where its keys are yours. */
export const sections = {
  node: { schema: node, description: 'This process and its place in the fleet.' },
  redis: { schema: redis, description: 'Where everything that must not get lost is kept.' },
  http: { schema: http, description: 'The API, the console and the metrics, on one port.' },
  dispatcher: { schema: dispatcher, description: 'How much work is let in.' },
  worker: { schema: worker, description: 'How work is done.' },
  mailbox: { schema: mailbox, description: 'The queues between the nodes.' },
  collector: { schema: collector, description: 'How results are accounted for.' },
  lease: { schema: lease, description: 'Who leads, and how soon another takes over.' },
  member: { schema: member, description: 'How nodes know of each other.' },
  health: { schema: health, description: 'How well a node is, and what it does about it.' },
  escalation: { schema: escalation, description: 'When many bad outcomes become an alarm.' },
  log: { schema: log, description: 'The log files in the data directory.' },
  store: { schema: store, description: 'Where results are kept.' },
  limits: {
    schema: limits,
    description:
      'Tasks begun on all nodes together: of a kind, or of those with the label source = "crm".',
    example: {
      exec: { rate: 100, burst: 200 },
      'source:crm': { rate: 0.5, burst: 10 },
    },
  },
  hosts: {
    schema: hosts,
    description: 'The inventory: name = { address, labels }, both optional.',
    example: { web001: { address: '192.0.2.17', labels: { role: 'web' } } },
  },
} as const

export const configSchema = z.strictObject({
  node: node.prefault({}),
  redis: redis.prefault({}),
  http: http.prefault({}),
  dispatcher: dispatcher.prefault({}),
  worker: worker.prefault({}),
  mailbox: mailbox.prefault({}),
  collector: collector.prefault({}),
  lease: lease.prefault({}),
  member: member.prefault({}),
  health: health.prefault({}),
  escalation: escalation.prefault({}),
  log: log.prefault({}),
  store: store.prefault({}),
  limits: limits.default({}),
  hosts: hosts.default({}),
})

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T

/** A whole configuration: every key resolved and checked, frozen all the way down. */
export type Config = DeepReadonly<z.output<typeof configSchema>>
