/** Everything that can be asked of a node over HTTP; the routes, by their documentation. */
import type { z } from 'zod'
import type { SchemaName } from './answers.ts'
import {
  escalationsQuery,
  lettersQuery,
  neededReasonBody,
  noQuery,
  pageQuery,
  reasonBody,
  redriveBody,
  resultsQuery,
  retryBody,
  submitBody,
  submitQuery,
  systemBody,
} from './questions.ts'

/** What comes in which form; a list is `{items, next?}`. */
export type Content = SchemaName | { list: SchemaName } | { lines: SchemaName } | { text: string }

export interface Operation {
  method: 'get' | 'post'
  /** As OpenAPI writes it: `/v1/runs/{id}`. */
  path: string
  summary: string
  query?: z.ZodObject
  headers?: Readonly<Record<string, string>>
  body?: { schema: z.ZodObject; lines?: SchemaName; isOptional?: boolean }
  /** By status; where there are several forms, the caller says in Accept which it wants. */
  answers: Readonly<Record<number, readonly Content[]>>
  /** Refusals of its own; those that any request may meet are not said again. */
  refusals?: readonly number[]
  /** No token is asked for. */
  isOpen?: boolean
}

const html: Content = { text: 'text/html' }
const events: Content = { text: 'text/event-stream' }

const submission: Operation = {
  method: 'post',
  path: '/v1/runs',
  summary:
    'Submit tasks: as a stream of lines of any length, or as one JSON object. ' +
    'Answered when all is durable.',
  query: submitQuery,
  headers: {
    'Idempotency-Key': 'once for 24 hours: the same key and lines give the first run',
    'Muster-Content': 'SHA-256 of the lines: an unfinished run of the same is resumed',
    'Muster-Reason': 'why, percent-encoded',
    'Muster-Window': 'most of its tasks under way at a time: 10 or 10%',
    'Muster-Halt': 'when it is ended for its failures: soon,fail=3 or now,fail=10%',
  },
  body: { schema: submitBody, lines: 'Task' },
  answers: { 200: ['Submitted', 'Checked'], 202: ['Submitted'] },
  refusals: [408, 409, 413, 415, 429, 503],
}

const runs: Operation[] = [
  submission,
  {
    method: 'get',
    path: '/v1/runs',
    summary: 'Runs, newest first; as lines: all of them, or as many as limit says',
    query: pageQuery,
    answers: { 200: [{ list: 'Run' }, { lines: 'Run' }] },
  },
  {
    method: 'get',
    path: '/v1/runs/{id}',
    summary: 'One run',
    query: noQuery,
    answers: { 200: ['Run'] },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/runs/{id}/tasks/{seq}',
    summary: 'The result of one task, and its attempts before the last one',
    query: noQuery,
    answers: { 200: ['TaskReport'] },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/runs/{id}/results',
    summary: 'Results by seq: page by page, or all as a stream of lines',
    query: resultsQuery,
    answers: { 200: [{ list: 'Result' }, { lines: 'Result' }] },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/runs/{id}/events',
    summary: 'Progress of a run, whose data is the run; the last event is done',
    query: noQuery,
    headers: {
      'Last-Event-ID': 'the last that was heard; the first event is the run as it is now',
    },
    answers: { 200: [events] },
    refusals: [404],
  },
]

const actions = ['pause', 'resume', 'cancel'] as const
const actionRoutes = actions.map(
  (action): Operation => ({
    method: 'post',
    path: `/v1/runs/{id}/${action}`,
    summary: `${action} a run; one that stands so already is left as it is`,
    query: noQuery,
    body: { schema: reasonBody, isOptional: true },
    answers: { 200: ['Run'] },
    refusals: [404, 409],
  }),
)

const retry: Operation = {
  method: 'post',
  path: '/v1/runs/{id}/retry',
  summary: 'A new run of the tasks that ended so; of all that are not ok by default',
  query: noQuery,
  body: { schema: retryBody, isOptional: true },
  answers: { 202: ['Submitted'] },
  refusals: [404, 409, 429, 503],
}

const fleet: Operation[] = [
  {
    method: 'get',
    path: '/v1/nodes',
    summary: 'Nodes, those that died in the last hour among them',
    query: noQuery,
    answers: { 200: [{ list: 'Node' }] },
  },
  {
    method: 'get',
    path: '/v1/endpoints',
    summary: 'Hosts that are probed, as the node found them that probes for all',
    query: noQuery,
    answers: { 200: [{ list: 'Endpoint' }] },
  },
  {
    method: 'post',
    path: '/v1/nodes/{id}/drain',
    summary: 'Have a node finish what it runs, hand back the rest and go',
    query: noQuery,
    body: { schema: reasonBody, isOptional: true },
    answers: { 202: ['Draining'] },
    refusals: [404, 503],
  },
  {
    method: 'get',
    path: '/v1/tree',
    summary: 'The actors of this node, each with its state',
    query: noQuery,
    answers: { 200: ['TreeNode'] },
  },
  {
    method: 'get',
    path: '/v1/leases',
    summary: 'The leases that are held',
    query: noQuery,
    answers: { 200: [{ list: 'Lease' }] },
  },
  {
    method: 'post',
    path: '/v1/leases/{name}/release',
    summary: 'Take a lease from its holder, so that another node leads',
    query: noQuery,
    body: { schema: neededReasonBody },
    answers: { 200: ['Lease'] },
    refusals: [404],
  },
]

const system: Operation[] = [
  {
    method: 'get',
    path: '/v1/system',
    summary: 'How the system is, and why',
    query: noQuery,
    answers: { 200: ['System'] },
  },
  {
    method: 'post',
    path: '/v1/system',
    summary: 'Change its state; PAUSED, and what ends it, is for all nodes',
    query: noQuery,
    body: { schema: systemBody },
    answers: { 200: ['System'] },
    refusals: [409],
  },
  {
    method: 'get',
    path: '/v1/system/history',
    summary: 'Its transitions, newest first',
    query: pageQuery,
    answers: { 200: [{ list: 'SystemEntry' }] },
  },
  {
    method: 'get',
    path: '/v1/audit',
    summary: 'How well the runtime of this node is; thresholds may be given in the query',
    answers: { 200: ['Audit'] },
  },
  {
    method: 'get',
    path: '/v1/escalations',
    summary: 'Open and acknowledged escalations; with all=1 the last one of every kind',
    query: escalationsQuery,
    answers: { 200: [{ list: 'Escalation' }] },
    refusals: [503],
  },
  {
    method: 'post',
    path: '/v1/escalations/{metric}/ack',
    summary: 'Say that somebody has seen it',
    query: noQuery,
    body: { schema: reasonBody, isOptional: true },
    answers: { 200: ['Escalation'] },
    refusals: [404],
  },
  {
    method: 'get',
    path: '/v1/deadletters',
    summary: 'What could not be delivered or killed its worker, newest first',
    query: lettersQuery,
    answers: { 200: [{ list: 'DeadLetter' }] },
  },
  {
    method: 'post',
    path: '/v1/deadletters/redrive',
    summary: 'Try them again: those named, or all that fit a filter',
    query: noQuery,
    body: { schema: redriveBody },
    answers: { 200: ['Redriven'] },
  },
]

const others: Operation[] = [
  {
    method: 'get',
    path: '/healthz',
    summary: 'The event loop turns',
    answers: { 200: ['Health'] },
    isOpen: true,
  },
  {
    method: 'get',
    path: '/readyz',
    summary: 'Work is taken, or why not',
    answers: { 200: ['Readiness'], 503: ['Readiness'] },
    isOpen: true,
  },
  {
    method: 'get',
    path: '/metrics',
    summary: 'What the node counts, for Prometheus',
    answers: { 200: [{ text: 'text/plain' }] },
  },
  {
    method: 'get',
    path: '/openapi.json',
    summary: 'This document',
    answers: { 200: [{ text: 'application/json' }] },
  },
  {
    method: 'get',
    path: '/login',
    summary: 'The form that takes a token',
    answers: { 200: [html] },
    isOpen: true,
  },
  {
    method: 'post',
    path: '/login',
    summary: 'A token of a form against a cookie',
    answers: { 303: [html] },
    isOpen: true,
  },
  {
    method: 'post',
    path: '/logout',
    summary: 'The cookie is worth nothing any more',
    answers: { 303: [html] },
    isOpen: true,
  },
]

export const operations: readonly Operation[] = [
  ...runs,
  ...actionRoutes,
  retry,
  ...fleet,
  ...system,
  ...others,
]
