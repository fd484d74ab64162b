/** One thread that runs commands, as the main thread sees it. */
import { Worker } from 'node:worker_threads'
import type { ExecuteContext, Execution, Followed, Log } from '../../../actors/ports.ts'
import type { Task } from '../../../actors/task.ts'
import { Abortions } from '../abortions.ts'
import { type Answer, batching, type Opening, type Order } from './words.ts'

export interface MemberOptions {
  opening: Opening
  log: Log
  /** It has ended; nobody asked it to when it is lost. */
  ended(member: Member, isLost: boolean): void
}

/** Longer than a command may take to die. */
const stopMs = 15_000

interface AtHand {
  /** It must not run twice, not even when it was killed. */
  isOnce: boolean
  /** Undefined: it has not begun. */
  end(told: Followed | undefined): void
}

export class Member {
  /** It takes commands. Not any more once it was asked to stop, or has died. */
  isOpen = false
  readonly prefix: string
  /** Resolves when it has ended. */
  readonly ended: Promise<void>
  readonly #worker: Worker
  readonly #log: Log
  readonly #atHand = new Map<number, AtHand>()
  readonly #tell: (order: Order) => void
  readonly #abortions = new Abortions()
  /** Of what is and was under way. */
  readonly #ids = new WeakMap<ExecuteContext, number>()
  #count = 0
  #isAsked = false
  #isGone = false
  #problem = 'it ended without a word'

  constructor({ opening, log, ended }: MemberOptions) {
    this.prefix = opening.prefix
    this.#log = log
    this.#worker = new Worker(new URL('./thread.ts', import.meta.url))
    this.#tell = batching((words) => {
      // It may have gone since that was said; what it had has been answered for then.
      if (!this.#isGone) this.#worker.postMessage(words)
    })
    const over = Promise.withResolvers<void>()
    this.ended = over.promise
    this.#worker.on('message', (words: string) => {
      for (const answer of JSON.parse(words) as Answer[]) this.#hear(answer)
    })
    this.#worker.on('error', (error: Error) => {
      this.#problem = error.message
    })
    this.#worker.on('exit', () => {
      this.#isGone = true
      this.#over()
      ended(this, !this.#isAsked)
      over.resolve()
    })
    this.#tell({ type: 'open', opening })
  }

  /** Commands under way. */
  get load(): number {
    return this.#atHand.size
  }

  run(task: Task, context: ExecuteContext): Promise<Execution> {
    const ended = Promise.withResolvers<Execution>()
    this.#order(task, context, undefined, (told) => {
      // Only what is to come after another may be given back.
      if (told === undefined) ended.reject(new Error('a command was given back unasked'))
      else ended.resolve(told.execution)
    })
    return ended.promise
  }

  /** Undefined at once when the other is none of those under way here. */
  follow(
    task: Task,
    context: ExecuteContext,
    before: ExecuteContext,
    recall: AbortSignal,
  ): Promise<Followed | undefined> | undefined {
    const after = this.#ids.get(before)
    if (!this.isOpen || after === undefined || !this.#atHand.has(after)) return undefined
    const ended = Promise.withResolvers<Followed | undefined>()
    const id = this.#order(task, context, after, (told) => {
      this.#abortions.leave(recall, giveBack)
      ended.resolve(told)
    })
    const giveBack = () => this.#tell({ type: 'recall', id })
    this.#abortions.listen(recall, giveBack)
    return ended.promise
  }

  #order(
    { input, timeoutMs, delivery }: Task,
    context: ExecuteContext,
    after: number | undefined,
    tell: AtHand['end'],
  ): number {
    const { run, seq, kind, attempt, signal } = context
    this.#count += 1
    const id = this.#count
    this.#ids.set(context, id)
    const abort = () => this.#tell({ type: 'abort', id })
    this.#atHand.set(id, {
      isOnce: delivery === 'at-most-once',
      end: (told) => {
        this.#abortions.leave(signal, abort)
        tell(told)
      },
    })
    this.#tell({
      type: 'run',
      id,
      ...(after !== undefined && { after }),
      task: { input, ...(timeoutMs !== undefined && { timeoutMs }) },
      context: { run, seq, kind, attempt },
    })
    this.#abortions.listen(signal, abort)
    return id
  }

  /** Its commands are killed. Resolves when it has ended. */
  stop(): Promise<void> {
    if (!this.#isAsked) {
      this.#isAsked = true
      this.isOpen = false
      this.#tell({ type: 'stop' })
      const timer = setTimeout(() => void this.#worker.terminate(), stopMs)
      void this.ended.then(() => clearTimeout(timer))
    }
    return this.ended
  }

  #hear(answer: Answer): void {
    if (answer.type === 'ended') this.#end(answer.id, answer)
    else if (answer.type === 'returned') this.#end(answer.id, undefined)
    else if (answer.type === 'logged') this.#log[answer.level](answer.fields, answer.message)
    else if (answer.type === 'opened') this.isOpen = !this.#isAsked
    else void this.#worker.terminate()
  }

  #end(id: number, told: Followed | undefined): void {
    const command = this.#atHand.get(id)
    this.#atHand.delete(id)
    command?.end(told)
  }

  #over(): void {
    this.isOpen = false
    if (!this.#isAsked) {
      const fields = { error: this.#problem, commands: this.load }
      this.#log.warn(fields, 'a thread that runs commands has died; what it ran was killed')
    }
    const message = `the thread that ran it has died (${this.#problem}), and it was killed`
    for (const [id, { isOnce }] of this.#atHand) {
      const error = { code: 'THREAD_LOST', message }
      const execution: Execution = {
        outcome: 'failed',
        error,
        stage: isOnce ? 'terminal' : 'start',
      }
      this.#end(id, { execution, durationMs: 0 })
    }
  }
}
