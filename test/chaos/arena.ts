/** Where a row of the chaos runs: nodes on one data directory, tasks, and the oracle at the end. */
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { TreeNode } from '../../actors/tree.ts'
import { CrashPlans } from '../kit/crash-plans.ts'
import { removeTemporaryDirectories, temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { endProcessesIn, type MusterProcess, startMuster, startMusterNode } from '../kit/muster.ts'
import { judge, type SubmittedRun, type SubmittedTask, type Verdict } from '../kit/oracle.ts'
import { isAlive } from '../kit/processes.ts'
import type { Random } from '../kit/random.ts'

const tasksFile = join(import.meta.dir, 'tasks.ts')

export type Node = MusterProcess & { url: string }

export interface NodeWish {
  id?: string
  /** Default 0. */
  processes?: number
  words?: readonly string[]
  env?: Record<string, string>
}

/** A line and what the oracle has to know of it. */
export interface Line extends SubmittedTask {
  line: string
}

/** Locks that end while one looks on: for rows about them. A busy machine loses them by itself. */
export const shortLocks = {
  MUSTER_MAILBOX_LOCK_MS: '1000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '300',
}

/** The defaults, and many small envelopes, so that there is much to be hit. */
const small = {
  MUSTER_MAILBOX_LOCK_MS: '15000',
  MUSTER_MAILBOX_STALLED_INTERVAL_MS: '5000',
  MUSTER_WORKER_CONCURRENCY: '8',
  MUSTER_WORKER_ENVELOPE_TASKS_MAX: '10',
  MUSTER_WORKER_RETRY_BASE_MS: '50',
}

export interface ArenaOptions {
  /** Of all nodes. */
  env?: Record<string, string>
  /** Redis of the nodes; without one, they bring up their own. */
  redis?: string
}

export class Arena {
  readonly dataDir = temporaryDirectory()
  readonly effects = join(this.dataDir, 'effects.log')
  readonly plans = new CrashPlans()
  readonly #options: ArenaOptions
  readonly #nodes = new Map<string, Node>()
  readonly #processes: MusterProcess[] = []
  readonly #runs: { id: string; tasks: readonly SubmittedTask[] }[] = []

  constructor(options: ArenaOptions = {}) {
    this.#options = options
  }

  env(role: 'node' | 'cli' = 'node'): Record<string, string> {
    const { env, redis } = this.#options
    return {
      ...small,
      CHAOS_EFFECTS: this.effects,
      ...(redis === undefined ? {} : { MUSTER_REDIS_URL: redis }),
      ...this.plans.env(role),
      ...env,
    }
  }

  /** Starts a node; one of the same id is to have ended. */
  async start({ id = 'a', processes = 0, words = [], env }: NodeWish = {}): Promise<Node> {
    const split = processes === 0 ? [] : ['--processes', String(processes)]
    const node = await startMusterNode({
      dataDir: this.dataDir,
      env: { ...this.env(), ...env },
      words: ['--node-id', id, '--tasks', tasksFile, ...split, ...words],
    })
    this.#nodes.set(id, node)
    this.#processes.push(node)
    return node
  }

  /** A command of the command line, on this data directory. */
  command(words: readonly string[], env: Record<string, string> = {}): MusterProcess {
    const { dataDir } = this
    const command = startMuster(words, { dataDir, env: { ...this.env('cli'), ...env } })
    this.#processes.push(command)
    return command
  }

  /** The last of that id, whether it runs or not. */
  node(id = 'a'): Node {
    const node = this.#nodes.get(id)
    if (node === undefined) throw new Error(`there is no node ${id}`)
    return node
  }

  async submit(lines: readonly Line[], id = 'a', headers: Record<string, string> = {}) {
    const response = await fetch(`${this.node(id).url}/v1/runs`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', ...headers },
      body: textOf(lines),
    })
    const answer = (await response.json()) as { run: string; accepted: number }
    if (!response.ok) throw new Error(`submitting: ${response.status} ${JSON.stringify(answer)}`)
    this.expect(answer.run, lines)
    return answer
  }

  /** A run that was submitted otherwise: it is judged with the others. */
  expect(run: string, tasks: readonly SubmittedTask[]): void {
    if (!this.#runs.some(({ id }) => id === run)) this.#runs.push({ id: run, tasks })
  }

  get runs(): string[] {
    return this.#runs.map(({ id }) => id)
  }

  async get<Answer>(path: string, id = 'a'): Promise<Answer> {
    const signal = AbortSignal.timeout(5000)
    const response = await fetch(this.node(id).url + path, { signal })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as Answer
  }

  run(run: string, id = 'a'): Promise<Run> {
    return this.get<Run>(`/v1/runs/${run}`, id)
  }

  /** Resolves when all runs are over; with what is known of them if that takes too long. */
  async over(timeoutMs = 30_000, id = 'a'): Promise<Run[]> {
    let seen: Run[] = []
    const look = async () => {
      seen = await Promise.all(this.runs.map((run) => this.run(run, id)))
      for (const { id: run, state, finishedAt, counts } of seen) {
        if (finishedAt === undefined) throw new Error(`${run} ${state} ${JSON.stringify(counts)}`)
      }
    }
    try {
      await eventually(look, { timeoutMs, intervalMs: 20 })
    } catch (error) {
      // What is missing then is the oracle's to say.
      if (seen.length === 0) throw error
    }
    return seen
  }

  /** Waits for the end of all runs, and has the oracle judge them. */
  async verdict(options: {
    mayRepeat: boolean
    isOrderJudged?: boolean
    timeoutMs?: number
    id?: string
  }): Promise<Verdict> {
    const { timeoutMs, id, ...rest } = options
    const runs = await this.over(timeoutMs, id)
    const submitted = this.#runs.map(({ tasks }, index): SubmittedRun => {
      const run = runs[index]
      if (run === undefined) throw new Error('expected every run to be known')
      return { tasks, run }
    })
    return judge({ dataDir: this.dataDir, effects: this.effects, runs: submitted, ...rest })
  }

  /** Pids of the worker processes of a node that take work. */
  async workers(id = 'a'): Promise<number[]> {
    const tree = await this.get<TreeNode>('/v1/tree', id)
    const children = tree.children.find((child) => child.id === 'processes')?.children ?? []
    return children.filter(({ pid }) => isAlive(pid)).map(({ pid }) => pid)
  }

  /** Ends everything by force, and forgets it. */
  async close(): Promise<void> {
    for (const one of this.#processes) if (isAlive(one.pid)) void one.kill('SIGKILL')
    endProcessesIn(this.dataDir)
    await Promise.all(this.#processes.map(({ ended }) => ended))
    endProcessesIn(this.dataDir)
    removeTemporaryDirectories([this.dataDir])
  }
}

export const textOf = (lines: readonly Line[]) => lines.map(({ line }) => `${line}\n`).join('')

/** One line of the kind `effect`. */
export function effectLine(
  input: { ms?: number; fails?: number },
  rest: { key?: string; once?: boolean; [field: string]: unknown } = {},
): Line {
  const { once = false, key, ...fields } = rest
  const line = {
    kind: 'effect',
    input,
    ...(key === undefined ? {} : { key }),
    ...(once ? { delivery: 'at-most-once' } : {}),
    ...fields,
  }
  return {
    line: JSON.stringify(line),
    hasEffect: true,
    ...(key === undefined ? {} : { key }),
    once,
    // One that must not run twice is not run again, when nobody knows how far it came.
    ends: once ? ['ok', 'dead'] : ['ok'],
  }
}

/** Of everything something: keys, failures, tasks that must not run twice, slow ones. */
export function mixture(random: Random, count: number): Line[] {
  return Array.from({ length: count }, () => {
    const ms = random.chance(0.1) ? random.integer(5, 40) : random.integer(0, 3)
    if (random.chance(0.05)) return effectLine({ ms }, { once: true })
    const fails = random.chance(0.03) ? 1 : 0
    if (random.chance(0.35)) return effectLine({ ms, fails }, { key: `k${random.integer(1, 5)}` })
    return effectLine({ ms, fails })
  })
}
