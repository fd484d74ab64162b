/**
 * The program as its users run it: the real bin, on a data directory of the test's own. What it
 * starts carries the tests' mark (leaks.ts), so nothing of it can outlive them unseen.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from './eventually.ts'

const bin = join(import.meta.dir, '../../runtime/cli/muster')

export interface MusterOptions {
  /** `--data`; also where it runs. */
  dataDir: string
  env?: Record<string, string>
  /** Given to it whole; without it, stdin is empty. */
  stdin?: string
  /** Words before the program: who runs it. */
  under?: readonly string[]
}

export interface Ended {
  /** 128 + the signal's number where one ended it, as a shell says it. */
  code: number
  out: string
  err: string
}

export interface MusterProcess {
  readonly pid: number
  /** What it has said so far. */
  readonly out: string
  readonly err: string
  readonly ended: Promise<Ended>
  /** Sends the signal (SIGKILL if none is given) and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<Ended>
}

const dataDirs = new Set<string>()
// The embedded Redis outlives a killed node, in a session and an environment of its own.
process.on('exit', () => {
  for (const dataDir of dataDirs) endProcessesIn(dataDir)
})

/** Of the tests' environment only PATH, HOME and mark come through. */
export function startMuster(words: readonly string[], options: MusterOptions): MusterProcess {
  const { dataDir, env = {}, stdin = '', under = [] } = options
  dataDirs.add(dataDir)
  const mark = process.env['TEST_PROCESS_MARK']
  const child = Bun.spawn([...under, bin, '--data', dataDir, ...words], {
    cwd: dataDir,
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'] ?? dataDir,
      // A killed worker's tasks come back in moments, not in the quarter minute of the defaults.
      MUSTER_MAILBOX_LOCK_MS: '1000',
      MUSTER_MAILBOX_STALLED_INTERVAL_MS: '300',
      ...(mark === undefined ? {} : { TEST_PROCESS_MARK: mark }),
      ...env,
    },
    stdin: new TextEncoder().encode(stdin),
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const out = collect(child.stdout)
  const err = collect(child.stderr)
  const ended = Promise.all([child.exited, out.end, err.end]).then(([code]) => ({
    code,
    out: out.text(),
    err: err.text(),
  }))
  return {
    pid: child.pid,
    get out() {
      return out.text()
    },
    get err() {
      return err.text()
    },
    ended,
    kill: (signal = 'SIGKILL') => {
      child.kill(signal)
      return ended
    },
  }
}

/** Runs it to its end. */
export function muster(words: readonly string[], options: MusterOptions): Promise<Ended> {
  return startMuster(words, options).ended
}

/** `muster start` on a free port, once it can be reached. */
export async function startMusterNode(
  options: MusterOptions & { words?: readonly string[] },
): Promise<MusterProcess & { url: string }> {
  const node = startMuster(['start', '--port', '0', ...(options.words ?? [])], options)
  let over = false
  void node.ended.then(() => {
    over = true
  })
  const url = await eventually(
    () => {
      const found = nodeFiles(options.dataDir).find(({ pid }) => pid === node.pid)?.url
      // One that has ended will not come up any more.
      if (found === undefined && !over) throw new Error('the node is not up')
      return found
    },
    { timeoutMs: 60_000 },
  )
  if (url === undefined) throw new Error(`the node ended instead of starting: ${node.err}`)
  return Object.assign(node, { url })
}

/** Pid of the Redis that was brought up on a data directory, running or not. */
export function embeddedPid(dataDir: string): number {
  return Number(readFileSync(join(dataDir, 'redis', 'redis.pid'), 'utf8'))
}

export interface NodeFile {
  id: string
  pid: number
  url: string
  startedAt: number
}

/** The nodes that say they are there, dead ones included. */
export function nodeFiles(dataDir: string): NodeFile[] {
  const folder = join(dataDir, 'nodes')
  try {
    const names = readdirSync(folder).filter((name) => name.endsWith('.json'))
    return names.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as NodeFile)
  } catch {
    // No node has been here yet, or one is just going.
    return []
  }
}

/** Ends, by force, what works in a folder or below: a Redis that nobody stopped. */
export function endProcessesIn(folder: string): void {
  if (process.platform !== 'linux') return
  for (const pid of readdirSync('/proc').map(Number).filter(Number.isInteger)) {
    try {
      const cwd = readlinkSync(`/proc/${pid}/cwd`)
      if (pid !== process.pid && `${cwd}/`.startsWith(`${folder}/`)) process.kill(pid, 'SIGKILL')
    } catch {
      // It ended meanwhile, or is not ours to look at.
    }
  }
}

function collect(stream: ReadableStream<Uint8Array>): { text(): string; end: Promise<void> } {
  let text = ''
  const decoder = new TextDecoder()
  const read = async () => {
    for await (const bytes of stream) text += decoder.decode(bytes, { stream: true })
  }
  return { text: () => text, end: read() }
}
