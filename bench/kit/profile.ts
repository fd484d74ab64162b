/** A CPU profile, added up by what the program is made of. */

/** As Bun and Chromium write it; what is not needed here is left out. */
export interface Profile {
  nodes: readonly {
    id: number
    callFrame: { functionName: string; url: string }
    children?: readonly number[]
  }[]
  /** Ids of nodes. */
  samples: readonly number[]
}

/** The first that fits is it. Paths begin with a slash and lie in this project. */
const parts: readonly (readonly [part: string, path: RegExp])[] = [
  ['BullMQ and its scripts', /\/(bullmq|msgpackr)\/|\/runtime\/mailbox\//],
  ['connections to Redis (ioredis)', /\/(ioredis|redis-parser)\/|\/runtime\/redis\/script/],
  ['statecharts, supervision', /\/xstate\/|\/machines\/|\/actors\/(supervisor|dead-letters)/],
  ['checks by schema (zod)', /\/zod\//],
  ['HTTP', /\/hono\/|\/runtime\/http\//],
  ['intake: lines to tasks', /\/runtime\/(intake|lines|lines-hash)|\/actors\/(quick-)?task\./],
  [
    'run: numbering, packing, sending',
    /\/actors\/(run|source|envelope|spool|live-runs?|dispatcher|turns|room|router|place)\./,
  ],
  [
    'worker: running the tasks',
    /\/actors\/(workers?|work-off|together|attempt|slots|free-hands|paces|limits)\.|\/execute\//,
  ],
  ['worker: settling', /\/actors\/(settlement|settling|letters)\./],
  ['accounting', /\/runtime\/redis\/|\/actors\/(fresh-outcomes|holds)\./],
  [
    'collector: rows and audit lines',
    /\/actors\/(collector|results?)\.|\/runtime\/(store|audit|stores)/,
  ],
  [
    'measuring, health',
    /\/telemetry\/|\/actors\/(meter|health|at-hand|system)\.|\/health\.|clock\./,
  ],
]
const rest = 'the rest'
const unknown = 'Bun itself: sockets, timers, collections'

/** Parts and their shares (0…1) of all samples, the largest first. */
export function partsOf({ nodes, samples }: Profile): { part: string; share: number }[] {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map<number, number>()
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id)
  const known = new Map<number, string>()
  const partOf = (id: number): string => {
    const found = known.get(id)
    if (found !== undefined) return found
    const url = byId.get(id)?.callFrame.url ?? ''
    const parent = parents.get(id)
    let part = unknown
    if (url.startsWith('file:')) part = parts.find(([, path]) => path.test(url))?.[0] ?? rest
    else if (parent !== undefined) part = partOf(parent)
    known.set(id, part)
    return part
  }
  const counts = new Map<string, number>()
  for (const sample of samples) {
    const part = partOf(sample)
    counts.set(part, (counts.get(part) ?? 0) + 1)
  }
  return [...counts]
    .map(([part, count]) => ({ part, share: count / samples.length }))
    .toSorted((a, b) => b.share - a.share)
}
