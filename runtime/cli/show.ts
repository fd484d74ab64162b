/** `muster show RUN` and `muster show RUN/SEQ`. */
import { UsageError } from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import type { Decision } from '../../machines/balancer.ts'
import { outcomes } from '../../machines/outcome.ts'
import type { TaskReport } from '../client-api.ts'
import { elapsed } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import { rejectionLine } from './follow.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { printable, recap } from './report.ts'

export async function show(invocation: Invocation, name: string): Promise<number> {
  const { terminal } = invocation
  const { run, seq } = parseName(name)
  const located = await locate(invocation, { roles: [] })
  try {
    const { muster } = located
    const found = seq === undefined ? await muster.get(run) : await muster.task(run, seq)
    if (terminal.json) await terminal.print(`${JSON.stringify(found)}\n`)
    else
      await terminal.print(
        `${('result' in found ? taskLines(found) : runLines(found)).join('\n')}\n`,
      )
    return exitCodes.ok
  } finally {
    await located.stop()
  }
}

function parseName(name: string): { run: string; seq?: number } {
  const [run = '', seq, ...rest] = name.split('/')
  if (run === '' || rest.length > 0 || (seq !== undefined && !/^\d+$/.test(seq))) {
    throw new UsageError(`expected RUN or RUN/SEQ, for example r-1a2b3c4d/0, got '${name}'`)
  }
  return seq === undefined ? { run } : { run, seq: Number(seq) }
}

function runLines(run: Run): string[] {
  const lines = [
    field('run', run.id),
    field('state', run.state),
    field('tasks', run.total),
    ...[...outcomes, 'pending' as const]
      .filter((outcome) => run.counts[outcome] > 0)
      .map((outcome) => field(`  ${outcome}`, run.counts[outcome])),
    field('rejected', run.rejectedCount),
    field('created', time(run.createdAt)),
  ]
  if (run.finishedAt !== undefined) lines.push(field('finished', time(run.finishedAt)))
  if (run.durationMs !== undefined) lines.push(field('took', elapsed(run.durationMs)))
  if (run.parent !== undefined) lines.push(field('parent', run.parent))
  if (run.reason !== undefined) lines.push(field('reason', run.reason))
  if (run.stopReason !== undefined) lines.push(field('stopped', run.stopReason))
  for (const rejection of run.rejected.slice(0, 20)) lines.push(`  ${rejectionLine(rejection)}`)
  return [...lines, recap(run, undefined)]
}

function taskLines({ result, attempts, routing }: TaskReport): string[] {
  const lines = [field('task', `${result.run}/${result.seq}`)]
  if (result.id !== undefined) lines.push(field('id', result.id))
  lines.push(field('kind', result.kind))
  if (result.target !== undefined) lines.push(field('target', result.target))
  lines.push(field('outcome', result.outcome))
  for (const past of attempts) {
    const took = elapsed(past.durationMs)
    lines.push(field(`attempt ${past.attempt}`, `${took} on ${past.node}: ${past.error.message}`))
  }
  const took = elapsed(result.durationMs)
  lines.push(field(`attempt ${result.attempt}`, `${took} on ${result.node}, ${result.worker}`))
  if (routing !== undefined) lines.push(...routingLines(routing))
  lines.push(field('started', time(result.startedAt)))
  lines.push(field('waited', elapsed(result.queueMs)))
  if (result.error !== undefined) {
    lines.push(field('error', `${result.error.message} (${result.error.code})`))
  }
  if (result.trace !== undefined) lines.push(field('trace', result.trace))
  if (result.output !== undefined) {
    lines.push(field('output', ''), JSON.stringify(result.output, null, 2))
  }
  return lines
}

/** Why it ran where it did. */
function routingLines({ strategy, candidates, winner, score, ...rest }: Decision): string[] {
  const { fallbacks, excluded = {} } = rest
  const of = candidates === 1 ? 'the only one' : `of ${candidates}`
  const rounded = (number: number) => String(Math.round(number * 1000) / 1000)
  const lines = [field('placed', `on ${winner} by ${strategy}, ${of}: score ${rounded(score)}`)]
  const next = fallbacks.map((other) => `${other.node} (${rounded(other.score)})`)
  if (next.length > 0) lines.push(field('  before', next.join(', ')))
  const left = Object.entries(excluded).map(([reason, count]) => `${count} ${reason}`)
  if (left.length > 0) lines.push(field('  not', left.join(', ')))
  return lines
}

function field(name: string, value: string | number): string {
  return `${name.padEnd(12)}${printable(String(value))}`.trimEnd()
}

function time(at: number): string {
  return new Date(at).toISOString()
}
