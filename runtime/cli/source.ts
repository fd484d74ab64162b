/** Where the lines of a run come from: a file, stdin, or the words after `--`. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DataDirectoryError, NotFoundError } from '../../actors/errors.ts'
import type { TaskSource } from '../client.ts'

export interface Source {
  /** Each call reads from the beginning; a source that cannot do that may be opened once. */
  open(): TaskSource
  /** Size where it is known. */
  bytes?: number
  /** Hash of the lines where they could be read beforehand. */
  content?: string
  remove(): Promise<void>
}

/** Stdin that ends within this much and this soon is hashed like a file. */
const headBytes = 4 * 1024 * 1024
const headMs = 1000
const readBytes = 64 * 1024

async function nothingToRemove(): Promise<void> {}

/**
 * SHA-256 over the non-blank lines, each ended by \n: what decides whether an unfinished run has
 * the same content. Blank means nothing but white space.
 */
export class ContentHash {
  readonly #hash = createHash('sha256')
  /** Bytes of a line that has been nothing but white space so far. */
  #blank: Uint8Array[] = []
  #inLine = false

  update(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      const end = chunk.indexOf(10, at)
      const stop = end < 0 ? chunk.length : end + 1
      this.#part(chunk.subarray(at, stop), end >= 0)
      at = stop
    }
  }

  /** Hex digest; call once. */
  digest(): string {
    if (this.#inLine) this.#hash.update('\n')
    return this.#hash.digest('hex')
  }

  /** A line, or the part of it that this chunk brings; `ends` when its \n is the last byte. */
  #part(bytes: Uint8Array, ends: boolean): void {
    if (this.#inLine || !isBlank(bytes)) {
      for (const blank of this.#blank) this.#hash.update(blank)
      this.#blank = []
      this.#hash.update(bytes)
      this.#inLine = !ends
    } else if (ends) {
      this.#blank = []
    } else {
      this.#blank.push(bytes.slice())
    }
  }
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 32 || (byte >= 9 && byte <= 13))
}

/**
 * The source named on the command line; `-` is stdin.
 * @param twice it will be opened twice, so stdin has to be kept in a file meanwhile
 * @throws NotFoundError when there is no such file
 */
export async function openSource(file: string, dataDir: string, twice: boolean): Promise<Source> {
  if (file === '-') return twice ? spooledStdin(dataDir) : openStdin()
  const info = await stat(file).catch((error: unknown) => {
    throw new NotFoundError(`cannot read ${file}: ${reasonOf(error)}`)
  })
  if (info.isDirectory()) {
    throw new NotFoundError(`cannot read ${file}: expected a file of NDJSON tasks, got a directory`)
  }
  const open = () => createReadStream(file, { highWaterMark: readBytes })
  if (!info.isFile()) return { open, remove: nothingToRemove }
  const content = await hashOf(open()).catch((error: unknown) => {
    throw new NotFoundError(`cannot read ${file}: ${reasonOf(error)}`)
  })
  return { open, bytes: info.size, content, remove: nothingToRemove }
}

/** One `exec` task, or one for each host. `cwd` only where the node is on this machine. */
export function commandSource(
  argv: readonly string[],
  cwd: string | undefined,
  hosts?: readonly string[],
): Source {
  // A folder of this machine means nothing on another.
  const input = cwd === undefined || hosts !== undefined ? { argv } : { argv, cwd }
  const tasks = hosts?.map((target) => ({ kind: 'exec', target, input })) ?? [
    { kind: 'exec', input },
  ]
  const lines = tasks.map((task) => `${JSON.stringify(task)}\n`).join('')
  const line = new TextEncoder().encode(lines)
  const hash = new ContentHash()
  hash.update(line)
  return { open: () => [line], bytes: line.length, content: hash.digest(), remove: nothingToRemove }
}

async function hashOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = new ContentHash()
  for await (const chunk of chunks) hash.update(chunk)
  return hash.digest()
}

async function openStdin(): Promise<Source> {
  const reader = Bun.stdin.stream().getReader()
  const head: Uint8Array[] = []
  let size = 0
  let next = reader.read()
  // A source without an end (`tail -f`) must be served before it ends.
  const late = Bun.sleep(headMs).then(() => 'late' as const)
  for (;;) {
    const read = size < headBytes ? await Promise.race([next, late]) : 'late'
    if (read === 'late') break
    if (read.done) {
      const hash = new ContentHash()
      for (const chunk of head) hash.update(chunk)
      return { open: () => head, bytes: size, content: hash.digest(), remove: nothingToRemove }
    }
    head.push(read.value)
    size += read.value.length
    next = reader.read()
  }
  const open = async function* () {
    yield* head.splice(0)
    for (;;) {
      const read = await next
      if (read.done) return
      yield read.value
      next = reader.read()
    }
  }
  return { open, remove: nothingToRemove }
}

async function spooledStdin(dataDir: string): Promise<Source> {
  const file = join(dataDir, `stdin-${process.pid}.ndjson`)
  const hash = new ContentHash()
  let bytes = 0
  try {
    await mkdir(dataDir, { recursive: true })
    const writer = Bun.file(file).writer()
    for await (const chunk of Bun.stdin.stream()) {
      hash.update(chunk)
      bytes += chunk.length
      await writer.write(chunk)
      await writer.flush()
    }
    await writer.end()
  } catch (error) {
    await rm(file, { force: true })
    throw new DataDirectoryError(`cannot keep stdin in ${file}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
  const open = () => createReadStream(file, { highWaterMark: readBytes })
  const remove = () => rm(file, { force: true })
  return { open, bytes, content: hash.digest(), remove }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && error.code === 'ENOENT') return 'no such file'
  return error.message
}
