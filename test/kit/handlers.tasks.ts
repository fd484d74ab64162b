/** One handler three times, in each place where a handler can run; it does what it is told. */
import { appendFileSync } from 'node:fs'
import { z } from 'zod'
import { FencedError, TerminalError } from '../../actors/errors.ts'
import { defineTask, type HandlerExecutor, type TaskContext } from '../../actors/kind.ts'

const input = z.strictObject({
  does: z.enum([
    'echo',
    'throw',
    'give up',
    'wait',
    'hang',
    'exit',
    'crash later',
    'grow',
    'log',
    'fence',
    'pid',
    'sulk',
  ]),
  value: z.unknown().optional(),
})

export type Doing = z.infer<typeof input>['does']

/** Written to by setup and teardown, if it is set. */
const diary = 'MUSTER_TEST_DIARY'

function note(what: string): void {
  const path = process.env[diary]
  if (path !== undefined) appendFileSync(path, `${what}\n`)
}

async function fenced({ fence }: TaskContext): Promise<unknown> {
  await fence?.put('k', 'v')
  const read = await fence?.get('k')
  let refusal: unknown
  try {
    await fence?.check()
  } catch (error) {
    refusal = error instanceof FencedError ? error.code : String(error)
  }
  try {
    fence?.assert()
  } catch (error) {
    return { read, refusal, asserted: error instanceof FencedError, epoch: fence?.epoch }
  }
  return { read, refusal, epoch: fence?.epoch }
}

async function act(does: Doing, value: unknown, context: TaskContext): Promise<unknown> {
  if (does === 'echo') return value
  if (does === 'throw') throw Object.assign(new Error('no'), { code: 'SAID_NO' })
  if (does === 'give up') throw new TerminalError('never')
  if (does === 'exit') process.exit(7)
  if (does === 'pid') return process.pid
  if (does === 'fence') return fenced(context)
  if (does === 'log') {
    context.log.warn({ error: new TypeError('inner'), n: 1 }, 'a line')
    return { run: context.run, seq: context.seq, attempt: context.attempt }
  }
  if (does === 'crash later')
    setTimeout(() => {
      throw new Error('late')
    }, 1)
  if (does === 'hang') for (;;);
  if (does === 'grow') for (const kept: Buffer[] = []; ; ) kept.push(Buffer.alloc(2 ** 24, 1))
  await new Promise<void>((resolve) => {
    if (does === 'sulk') return
    context.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  return 'told to stop'
}

const define = (kind: string, executor: HandlerExecutor) =>
  defineTask({
    kind,
    input,
    executor,
    run: ({ does, value }, context) => act(does, value, context),
    setup: () => note(`${executor} up`),
    teardown: () => note(`${executor} down`),
  })

export const inline = define('kit.inline', 'inline')
export const thread = define('kit.thread', 'thread')
export const ownProcess = define('kit.process', 'process')
