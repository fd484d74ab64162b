/**
 * Pipes of the system, used again: those of Bun are sockets, which nobody can open by their names
 * (`echo oops > /dev/stderr`). To make two for each command, to have the loop watch and to close
 * them costs a fifth of a bare start; most commands say little and end at once, and what they said
 * can then be read at one go. Pipes without a name cannot be had from Bun, so these are named pipes
 * whose names are taken away. One is used again once it was seen to have ended: nobody is left then
 * who could write into what the next command says.
 */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import {
  BunPipes,
  type Ends,
  type PipeSource,
  type Pipes,
  type PipesListener,
  pump,
  type Reader,
} from './pipes.ts'

/** Who runs longer is listened to, ms: a pipe holds 64 KiB, and then its writer waits. */
const listenAfterMs = 5
/** Made at once, because a program has to be started for it: as many again as there were. */
const atOnceMin = 8
const atOnceMax = 64
const freeMax = 512
const chunkBytes = 65_536
/** More than what a pipe holds comes from somebody who goes on: he is listened to. */
const drainChunks = 2
const noDescriptors = new Set(['EMFILE', 'ENFILE'])

export interface FifosOptions {
  /** Where they have their names for a moment. */
  directory: string
  log: Log
}

export class Fifos implements PipeSource {
  readonly #options: FifosOptions
  /** Our ends of those that nobody uses. */
  readonly #free: number[] = []
  #made = 0
  readonly #chunk = new Uint8Array(chunkBytes)
  #next: Opened | undefined
  /** One is opened once more by what it is called below /proc. */
  #isAble = existsSync('/proc/self/fd')
  #isClosed = false

  constructor(options: FifosOptions) {
    this.#options = options
  }

  /** Opens what the next command needs while nobody waits for it. */
  prepare(): void {
    if (this.#isClosed) return
    try {
      this.#next ??= this.#open()
    } catch (error) {
      if (!noDescriptors.has(describeError(error).code)) throw error
      // Whoever needs them tries again, and says so.
    }
  }

  /** Where none can be made, those of Bun. */
  open(): Pipes {
    const opened = this.#next ?? this.#open()
    this.#next = undefined
    return opened === undefined ? new BunPipes() : new FifoPipes(this, opened)
  }

  #open(): Opened | undefined {
    if (this.#free.length < 2 && this.#isAble) this.#make()
    if (this.#free.length < 2) return undefined
    const [stdout = 0, stderr = 0] = this.#free.splice(-2)
    let first: number | undefined
    try {
      first = writeEnd(stdout)
      return { stdout, stderr, ends: [first, writeEnd(stderr)] }
    } catch (error) {
      if (first !== undefined) closeSync(first)
      if (noDescriptors.has(describeError(error).code)) {
        this.#free.push(stdout, stderr)
        throw error
      }
      // A command may have changed who may write into it (`chmod /dev/stdout`).
      closeSync(stdout)
      closeSync(stderr)
      return undefined
    }
  }

  /** It has ended: nobody writes into it any more. */
  give(end: number): void {
    if (this.#isClosed || this.#free.length >= freeMax) closeSync(end)
    else this.#free.push(end)
  }

  /** What has been said by now. @returns whether nobody can say more */
  drain(end: number, take: (bytes: Uint8Array) => void): boolean {
    try {
      for (let chunk = 0; chunk < drainChunks; chunk += 1) {
        const count = readSync(end, this.#chunk)
        if (count === 0) return true
        take(this.#chunk.slice(0, count))
      }
    } catch (error) {
      if (describeError(error).code !== 'EAGAIN') throw error
    }
    return false
  }

  /** Those in use are closed when they are given back. */
  close(): void {
    this.#isClosed = true
    const { stdout, stderr, ends = [] } = this.#next ?? {}
    this.#next = undefined
    for (const end of [stdout, stderr, ...ends]) if (end !== undefined) closeSync(end)
    for (const end of this.#free.splice(0)) closeSync(end)
  }

  #make(): void {
    const { directory, log } = this.#options
    let own: string | undefined
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      own = mkdtempSync(join(directory, 'pipes-'))
      const length = Math.min(atOnceMax, Math.max(atOnceMin, this.#made))
      this.#made += length
      const names = Array.from({ length }, (_, index) => join(own ?? '', `${index}`))
      const made = Bun.spawnSync(['mkfifo', '-m', '600', ...names], { stderr: 'pipe' })
      if (!made.success) throw new Error(made.stderr.toString().trim())
      const flags = constants.O_RDONLY | constants.O_NONBLOCK
      for (const name of names) this.#free.push(openSync(name, flags))
    } catch (error) {
      if (noDescriptors.has(describeError(error).code)) throw error
      this.#isAble = false
      log.warn(describeError(error), 'cannot make pipes ahead of commands; each gets its own')
    } finally {
      if (own !== undefined) rmSync(own, { recursive: true, force: true })
    }
  }
}

class FifoPipes implements Pipes {
  readonly ends: readonly [number, number]
  readonly #fifos: Fifos
  readonly #streams: readonly [Stream, Stream]
  #listener: PipesListener | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(fifos: Fifos, { stdout, stderr, ends }: Opened) {
    this.#fifos = fifos
    this.#streams = [
      { name: 'stdout', end: stdout, isOpen: true },
      { name: 'stderr', end: stderr, isOpen: true },
    ]
    this.ends = ends
  }

  read(_child: Ends, listener: PipesListener): void {
    this.#closeEnds()
    this.#listener = listener
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      for (const stream of this.#streams) this.#listen(stream)
    }, listenAfterMs)
  }

  drop(): void {
    this.#closeEnds()
    for (const stream of this.#streams) this.#over(stream, this.#drain(stream) === 'ended')
  }

  exited(): void {
    // Listened to by now: its end is heard of like all else.
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const stream of this.#streams) {
      const state = this.#drain(stream)
      if (state === 'held') this.#listen(stream)
      else this.#over(stream, state === 'ended')
    }
  }

  release(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const broke = (error: unknown) => this.#listener?.broke(error)
    for (const stream of this.#streams) {
      const { reader } = stream
      delete stream.reader
      if (reader !== undefined) void reader.cancel().catch(broke)
      else if (stream.isOpen) this.#over(stream, false)
    }
  }

  #drain(stream: Stream): 'ended' | 'held' | 'broken' {
    try {
      const hasEnded = this.#fifos.drain(stream.end, (bytes) => this.#take(stream, bytes))
      return hasEnded ? 'ended' : 'held'
    } catch (error) {
      this.#listener?.broke(error)
      return 'broken'
    }
  }

  #take({ name }: Stream, bytes: Uint8Array): void {
    this.#listener?.output(name, bytes)
  }

  #listen(stream: Stream): void {
    let reader: Reader
    try {
      reader = Bun.file(stream.end).stream().getReader()
    } catch (error) {
      // It takes a descriptor more.
      this.#listener?.broke(error)
      this.#over(stream, false)
      return
    }
    stream.reader = reader
    void pump(reader, (bytes) => this.#take(stream, bytes)).then(
      // Let go of, it is taken for ended, though somebody still holds it.
      () => this.#over(stream, stream.reader !== undefined),
      (error: unknown) => {
        this.#listener?.broke(error)
        this.#over(stream, false)
      },
    )
  }

  #over(stream: Stream, hasEnded: boolean): void {
    delete stream.reader
    stream.isOpen = false
    if (hasEnded) this.#fifos.give(stream.end)
    else closeSync(stream.end)
    if (this.#streams.every(({ isOpen }) => !isOpen)) this.#listener?.outputEnded()
  }

  // Ours would keep them from ending.
  #closeEnds(): void {
    for (const end of this.ends) closeSync(end)
  }
}

/** Two pipes, and where a command writes into them. */
interface Opened {
  stdout: number
  stderr: number
  ends: readonly [number, number]
}

interface Stream {
  name: 'stdout' | 'stderr'
  /** Where it is read. */
  end: number
  isOpen: boolean
  /** While it is listened to. */
  reader?: Reader
}

/** The other end of a pipe, for as long as a command needs it. */
function writeEnd(end: number): number {
  return openSync(`/proc/self/fd/${end}`, constants.O_WRONLY)
}
