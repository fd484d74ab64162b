/** What a command says: its two pipes, from its start to their ends. */

export interface PipesListener {
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): void
  /** Both have ended. */
  outputEnded(): void
  /** One cannot be read any further. */
  broke(error: unknown): void
}

/** Of a child that was given `Pipes.ends`. */
export interface Ends {
  stdout?: ReadableStream<Uint8Array> | number | undefined
  stderr?: ReadableStream<Uint8Array> | number | undefined
}

/** Of one command. */
export interface Pipes {
  /** Its stdout and stderr, as `Bun.spawn` takes them. */
  readonly ends: readonly ['pipe', 'pipe'] | readonly [number, number]
  /** It runs. Nothing is told before this has returned. */
  read(child: Ends, listener: PipesListener): void
  /** It did not start. */
  drop(): void
  /** Its first process has ended: others may still hold the pipes. */
  exited(): void
  /** Reads no further, whoever holds the other ends. */
  release(): void
}

export interface PipeSource {
  /** @throws the operating system's error when there are no more descriptors */
  open(): Pipes
}

/**
 * Those that Bun makes for each command. They are sockets, which nobody can open by their names
 * (`/dev/stderr`).
 */
export class BunPipes implements Pipes {
  readonly ends = ['pipe', 'pipe'] as const
  #readers: Reader[] = []
  #listener: PipesListener | undefined

  read({ stdout, stderr }: Ends, listener: PipesListener): void {
    this.#listener = listener
    let open = 2
    const end = () => {
      open -= 1
      if (open === 0) listener.outputEnded()
    }
    for (const [name, stream] of [['stdout', stdout] as const, ['stderr', stderr] as const]) {
      if (!(stream instanceof ReadableStream)) throw new Error(`expected a pipe as ${name}`)
      const reader = stream.getReader()
      this.#readers.push(reader)
      void pump(reader, (bytes) => listener.output(name, bytes))
        .catch((error: unknown) => listener.broke(error))
        .then(end)
    }
  }

  drop(): void {}

  exited(): void {}

  release(): void {
    const broke = (error: unknown) => this.#listener?.broke(error)
    for (const reader of this.#readers) void reader.cancel().catch(broke)
  }
}

export interface Reader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>
  cancel(): Promise<void>
}

/** Resolves at its end, and when it is cancelled. */
export async function pump(reader: Reader, take: (bytes: Uint8Array) => void): Promise<void> {
  for (;;) {
    const { value } = await reader.read()
    if (value === undefined) return
    take(value)
  }
}
