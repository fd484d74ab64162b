/** Submissions: what a body says, and handing it to the dispatcher. */
import { describeError, UsageError } from '../../actors/errors.ts'
import { readHalt, readShare } from '../../actors/share.ts'
import { wrongWith } from '../../actors/source.ts'
import type { Submission } from '../../actors/submission.ts'
import type { Rejection } from '../../actors/task.ts'
import { checkKey } from '../idempotency-key.ts'
import { listSource, ndjsonSource } from '../intake.ts'
import { fieldsOf, problemOf as problemIn } from '../rejection.ts'
import { problem } from './problem.ts'
import { submitBody } from './questions.ts'
import { lively, mediaTypeOf, ndjson } from './requests.ts'
import type { RunRoutesOptions } from './runs.ts'
import { beatWith } from './streams.ts'

/** A submission that takes longer than this to read is named before it is read to its end, ms. */
const earlyAnswerMs = 200

export async function takeSubmission(
  options: RunRoutesOptions,
  request: Request,
  isDry: boolean,
): Promise<Response> {
  const type = mediaTypeOf(request)
  if (type !== ndjson && type !== 'application/json') {
    const detail = `expected content-type ${ndjson} or application/json, got ${type || 'none'}`
    return problem(415, 'MEDIA_TYPE', detail)
  }
  const read = type === ndjson ? readStream(request, options) : await readJson(request, options)
  if (read instanceof Response) return read
  if (isDry) return Response.json(await checkOnly(read))
  return submit(options, read)
}

interface Opened {
  run: string
  resumed: boolean
}

/** A body, ready to be submitted. */
type ReadBody = Omit<Submission, 'onOpen'>

function readStream(request: Request, options: RunRoutesOptions): ReadBody {
  const { kinds, lingerMs } = options
  return {
    source: ndjsonSource(lively(request, options.streamSilenceMs), { kinds, lingerMs }),
    ...aboutOf(request),
  }
}

async function readJson(request: Request, options: RunRoutesOptions): Promise<ReadBody | Response> {
  let body: unknown
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await request.arrayBuffer()))
  } catch (error) {
    const got = error instanceof SyntaxError ? `broken JSON (${error.message})` : 'no UTF-8'
    return problem(400, 'BROKEN_JSON', `expected {"tasks": […]}, got ${got}`)
  }
  const read = submitBody.safeParse(body)
  if (!read.success) {
    const { path, message } = problemIn(read.error, body, fieldsOf(submitBody))
    return problem(400, 'BAD_BODY', path === '' ? message : `${path}: ${message}`)
  }
  const { tasks, window, halt, reason } = read.data
  return {
    source: listSource(tasks, options.kinds),
    tasks: tasks.length,
    ...aboutOf(request),
    ...(reason === undefined ? {} : { reason }),
    ...(window === undefined ? {} : { window: readShare('window', String(window)) }),
    ...(halt === undefined ? {} : { halt: readHalt('halt', String(halt)) }),
  }
}

type AboutRequest = Pick<Submission, 'content' | 'key' | 'reason' | 'signal' | 'window' | 'halt'>

function aboutOf(request: Request): AboutRequest {
  const content = request.headers.get('muster-content')
  const reason = request.headers.get('muster-reason')
  if (content !== null && !/^[0-9a-f]{64}$/.test(content)) {
    throw new UsageError(`Muster-Content: expected 64 hexadecimal digits, got "${content}"`)
  }
  const window = request.headers.get('muster-window')
  const halt = request.headers.get('muster-halt')
  const key = request.headers.get('idempotency-key')
  if (key !== null) checkKey('Idempotency-Key', key)
  return {
    signal: request.signal,
    ...(content === null ? {} : { content }),
    ...(key === null ? {} : { key }),
    ...(window === null ? {} : { window: readShare('Muster-Window', window) }),
    ...(halt === null ? {} : { halt: readHalt('Muster-Halt', halt) }),
    ...(reason === null ? {} : { reason: decodePercent('Muster-Reason', reason) }),
  }
}

function decodePercent(header: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new UsageError(`${header}: expected percent-encoded UTF-8, got "${text}"`)
  }
}

/** Read the whole source and run nothing. */
async function checkOnly(body: ReadBody): Promise<object> {
  let accepted = 0
  let rejectedCount = 0
  const rejected: Rejection[] = []
  const ids = new Set<string>()
  for await (const { read } of body.source(0)) {
    for (const { line, accepted: task, rejection } of read) {
      const wrong = rejection ?? wrongWith(ids, line, task.task)
      if (wrong !== undefined) {
        rejectedCount += 1
        if (rejected.length < 1000) rejected.push(wrong)
        continue
      }
      if (task === undefined) continue
      accepted += 1
      if (task.task.id !== undefined) ids.add(task.task.id)
    }
  }
  return { accepted, rejectedCount, rejected }
}

/**
 * Submit, and answer when all is durable. A source that goes on and on is answered with the run's
 * name in the headers first, so that the run can be watched; the body follows at the end.
 */
export async function submit(options: RunRoutesOptions, body: ReadBody): Promise<Response> {
  const { dispatcher, clock } = options
  if (dispatcher === undefined) {
    const detail = 'this node does not dispatch (its roles leave it out); submit to another one'
    return problem(503, 'NOT_ACCEPTING_DRAINING', detail, { 'retry-after': '5' })
  }
  const opened = Promise.withResolvers<Opened>()
  const onOpen = (run: string, resumed: boolean) => opened.resolve({ run, resumed })
  const submitted = dispatcher.submit({ ...body, onOpen })
  const answer = submitted.then(({ run, resumed }) =>
    JSON.stringify({
      run: run.id,
      accepted: run.total,
      rejectedCount: run.rejectedCount,
      rejected: run.rejected,
      ...(resumed ? { resumed } : {}),
    }),
  )
  // Where it is refused before it is opened, that is thrown below, and nobody asks for the answer.
  answer.catch(() => undefined)
  const first = submitted.then(({ run, resumed }): Opened => ({ run: run.id, resumed }))
  const { run, resumed } = await Promise.race([opened.promise, first])
  // Under a key nothing more was accepted than there was.
  const status = resumed && body.key !== undefined ? 200 : 202
  const early = clock.wait(earlyAnswerMs).then(() => undefined)
  const text = await Promise.race([answer, early])
  const headers = { 'content-type': 'application/json', location: `/v1/runs/${run}` }
  if (text !== undefined) return new Response(text, { status, headers })
  let isLeft = false
  const late = new ReadableStream<Uint8Array>({
    async start(controller) {
      try {
        // Headers leave the server with the first byte of the body: white space before JSON.
        controller.enqueue(new TextEncoder().encode(' '))
        const bytes = new TextEncoder().encode(await answer)
        if (isLeft) return
        controller.enqueue(bytes)
        controller.close()
      } catch (error) {
        options.log.warn({ run, ...describeError(error) }, 'a submission broke off')
        if (!isLeft) controller.error(error)
      }
    },
    cancel() {
      isLeft = true
    },
  })
  return beatWith(new Response(late, { status, headers }), ' ')
}
