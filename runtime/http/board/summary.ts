/** What of a message in a mailbox is shown to people: what it is about, not what is in it. */

export interface MessageSummary {
  kind?: string
  run?: string
  /** How many tasks it carries, or results. */
  tasks?: number
  /** Number of the first of them in its run. */
  firstSeq?: number
  attempt?: number
  priority?: string
  worker?: string
  /** It is none of ours. */
  note?: string
}

/** @param body an envelope of tasks or of results, of any version; anything else is only noted */
export function summaryOf(body: unknown): MessageSummary {
  if (typeof body !== 'object' || body === null) return { note: 'not an envelope' }
  const { kind, run, seqs, attempt, priority, worker } = body as Record<string, unknown>
  if (typeof run !== 'string') return { note: 'not an envelope' }
  const ranges = Array.isArray(seqs) ? seqs.filter(isRange) : []
  return {
    ...(typeof kind === 'string' ? { kind } : {}),
    run,
    ...(ranges.length === 0 ? {} : { tasks: ranges.reduce((sum, [, count]) => sum + count, 0) }),
    ...(ranges[0] === undefined ? {} : { firstSeq: ranges[0][0] }),
    ...(typeof attempt === 'number' ? { attempt } : {}),
    ...(typeof priority === 'string' ? { priority } : {}),
    ...(typeof worker === 'string' ? { worker } : {}),
  }
}

function isRange(value: unknown): value is [first: number, count: number] {
  return Array.isArray(value) && typeof value[0] === 'number' && typeof value[1] === 'number'
}
