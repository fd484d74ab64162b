/** What a node answers, as schemas: /openapi.json is made of them, and tests hold them to it. */
import { z } from 'zod'
import { letterReasons } from '../../actors/ports-letters.ts'
import { strategies } from '../../machines/balancer.ts'
import { outcomes } from '../../machines/outcome.ts'
import { systemStates } from '../../machines/system-rules.ts'
import { reportSchema } from '../audit/report.ts'
import { taskSchema } from './questions.ts'

const text = z.string()
const count = z.int().min(0)
const epochMs = z.number().min(0).describe('epoch milliseconds')
const ms = z.number().min(0).describe('milliseconds')
const fault = z.object({ code: text, message: text })
const labels = z.record(text, text)

const problem = z.object({
  type: text,
  title: text,
  status: z.int().min(400).max(599),
  detail: text,
  code: text.describe('stable, for programs'),
})

const rejection = z.object({
  line: count.describe('from 1, blank lines included'),
  path: text,
  message: text,
})

const submitted = z.object({
  run: text,
  accepted: count,
  rejectedCount: count,
  rejected: z.array(rejection).max(1000),
  resumed: z.boolean().optional(),
})

const checked = submitted.omit({ run: true, resumed: true })

const counts = z.object(
  Object.fromEntries([...outcomes, 'pending' as const].map((name) => [name, count])),
)

const run = z.object({
  id: text.regex(/^r-[0-9a-z]{8,26}$/),
  state: z.enum(['accepting', 'running', 'paused', 'completed', 'cancelled', 'halted']),
  total: count,
  counts: counts.describe('they sum to total'),
  rejectedCount: count,
  rejected: z.array(rejection).max(1000),
  parent: text.optional(),
  reason: text.optional(),
  stopReason: text.optional(),
  createdAt: epochMs,
  finishedAt: epochMs.optional(),
  durationMs: ms.optional(),
  labels: labels.optional(),
})

const result = z.object({
  run: text,
  seq: count,
  id: text.optional(),
  kind: text,
  target: text.optional(),
  outcome: z.enum(outcomes),
  attempt: count,
  node: text,
  worker: text,
  startedAt: epochMs,
  durationMs: ms,
  queueMs: ms,
  output: z.unknown().optional(),
  error: fault.optional(),
  trace: text.optional(),
})

const attempt = z.object({
  attempt: count,
  startedAt: epochMs,
  durationMs: ms,
  node: text,
  error: fault,
})

const score = z.number()
const routing = z.object({
  strategy: z.enum(strategies),
  candidates: z.int(),
  excluded: z.record(z.string(), z.int()).optional(),
  winner: z.string(),
  score,
  fallbacks: z.array(z.object({ node: z.string(), score })),
})
const taskReport = z.object({ result, attempts: z.array(attempt), routing: routing.optional() })

const node = z.object({
  id: text,
  boot: text,
  pid: count,
  host: text,
  state: z.enum(['joining', 'alive', 'suspect', 'draining', 'dead']),
  roles: z.array(text),
  labels,
  kinds: z.array(text),
  load: count,
  lastSeen: epochMs,
})

const endpoint = z.object({
  name: text,
  url: text,
  state: z.enum(['unknown', 'online', 'failing', 'offline']),
  pace: z.enum(['alert', 'normal', 'calm']),
  failures: count,
  successes: count,
  latencyMs: z.number(),
  successRate: z.number(),
  cooldownUntil: epochMs.optional(),
  probedAt: epochMs.optional(),
  changedAt: epochMs.optional(),
  lastError: text.optional(),
  isUsable: z.boolean(),
})

const drained = z.object({
  id: text,
  boot: text,
  state: z.literal('draining'),
  noop: z.literal(true).optional(),
})

const lease = z.object({
  name: text,
  holder: text,
  epoch: count,
  since: epochMs,
  ttlMs: z.number(),
})

const finding = z.object({
  severity: z.enum(['info', 'warning', 'error', 'critical']),
  what: text,
})

const system = z.object({
  state: z.enum(systemStates),
  since: epochMs,
  reason: text,
  actor: text,
  effect: z.object({ admission: z.number(), concurrency: z.number() }),
  note: text.optional(),
  diagnosis: z.object({ health: z.number(), findings: z.array(finding) }).optional(),
  health: z.looseObject({ level: z.number().optional() }).optional(),
  noop: z.literal(true).optional(),
})

const systemEntry = z.object({
  id: text,
  at: epochMs,
  node: text,
  from: z.enum(systemStates),
  to: z.enum(systemStates),
  reason: text,
  actor: text,
  noop: z.literal(true).optional(),
})

const escalation = z.object({
  metric: text,
  kind: text,
  state: z.enum(['open', 'acknowledged', 'closed']),
  openedAt: epochMs,
  peak: count,
  calmSince: epochMs.optional(),
  acknowledgedAt: epochMs.optional(),
  reason: text.optional(),
  closedAt: epochMs.optional(),
  window: count.nullable().describe('null: that cannot be known now'),
  atLeast: count.optional(),
  buckets: z.array(count).nullable(),
  threshold: count,
  windowMs: ms,
})

const letter = z.object({
  scope: z.enum(['mailbox', 'local']),
  id: text.optional(),
  at: epochMs,
  mailbox: text.optional(),
  reason: z.enum([...letterReasons, 'stopped']),
  run: text.optional(),
  seq: count.optional(),
  kind: text.optional(),
  error: fault.optional(),
  chain: z
    .array(z.object({ at: epochMs.optional(), node: text.optional(), worker: text.optional() }))
    .optional(),
  origin: z.object({ node: text, run: text.optional() }).optional(),
  task: taskSchema.optional(),
  message: z.object({ id: text, body: z.unknown() }).optional(),
  state: z.enum(['open', 'redriven']).optional(),
  redrives: count.optional(),
  redrivenAs: z.array(text).optional(),
  redriveOf: text.optional(),
  bytes: count.optional(),
  to: text.optional(),
  type: text.optional(),
})

const redriven = z.object({
  redriven: z.array(z.object({ id: text, run: text.optional(), mailbox: text.optional() })),
  refused: z.array(z.object({ id: text, code: text, message: text })),
  more: z.literal(true).optional(),
})

const treeNode = z.object({
  path: text,
  id: text,
  state: text,
  incarnation: count,
  restarts: count,
  lastError: text.optional(),
  oldestMessageMs: ms.optional(),
  heardMs: ms.optional(),
  pid: count,
  get children() {
    return z.array(treeNode)
  },
})

/** By their names in the document. */
export const schemas = {
  Problem: problem,
  Task: taskSchema,
  Submitted: submitted,
  Checked: checked,
  Run: run,
  Result: result,
  TaskReport: taskReport,
  Node: node,
  Endpoint: endpoint,
  Draining: drained,
  TreeNode: treeNode,
  Lease: lease,
  System: system,
  SystemEntry: systemEntry,
  Audit: reportSchema,
  Escalation: escalation,
  DeadLetter: letter,
  Redriven: redriven,
  Health: z.object({ status: z.literal('ok') }),
  Readiness: z.object({ status: z.enum(['ready', 'not ready']), reasons: z.array(text) }),
} satisfies Record<string, z.ZodType>

export type SchemaName = keyof typeof schemas
