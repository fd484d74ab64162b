/** `muster run`: submit, wait, report. `submit --wait` is the same. */
import type { FileHandle } from 'node:fs/promises'
import { UsageError } from '../../actors/errors.ts'
import type { Run } from '../../actors/ports-runs.ts'
import type { Muster, RunHandle } from '../client-api.ts'
import { Departure } from './departure.ts'
import { exitCodeOfRun, exitCodes } from './exit.ts'
import { follow, sayRejections } from './follow.ts'
import { checkStrictly, type RunFlags, readsTwice, submitOptions } from './intake.ts'
import type { Invocation } from './invocation.ts'
import { type Located, locate } from './locate.ts'
import { Progress } from './progress.ts'
import { openResultsFile, printReport, writeResults } from './results.ts'
import { dataDirOf, workerSettings } from './settings.ts'
import { commandSource, openSource, type Source } from './source.ts'

export async function run(
  invocation: Invocation,
  file: string | undefined,
  flags: RunFlags,
): Promise<number> {
  checkWords(invocation, file, flags)
  const departure = new Departure(flags.timeout)
  let located: Located | undefined
  let source: Source | undefined
  let results: FileHandle | undefined
  try {
    // What can be wrong with files shows before a node is looked for, or started.
    if (flags.results !== undefined) results = await openResultsFile(flags.results)
    const dataDir = dataDirOf(invocation.globals)
    if (file !== undefined) source = await openSource(file, dataDir, readsTwice(flags))
    located = await locateWorker(invocation, flags, departure.signal)
    departure.signal.throwIfAborted()
    const cwd = located.isLocal ? process.cwd() : undefined
    source ??= commandSource(invocation.argv ?? [], cwd, flags.hosts)
    return await runOn(located, invocation, { source, flags, results, departure })
  } catch (error) {
    const how = Departure.of(error)
    if (how === undefined) throw error
    return exitCodes[how]
  } finally {
    await results?.close()
    await source?.remove()
    await located?.stop(departure.signal.aborted)
    departure.dispose()
  }
}

/** A node that runs tasks: one that is there, or one in this process. */
async function locateWorker(
  invocation: Invocation,
  flags: RunFlags,
  left: AbortSignal,
): Promise<Located> {
  const tasksFiles = flags.tasks ?? []
  const located = await locate(invocation, {
    roles: ['dispatcher', 'worker', 'collector'],
    ephemeral: flags.ephemeral === true,
    tasksFiles,
    flags: workerSettings(flags.workers),
    left,
  })
  if (!located.isHere && (tasksFiles.length > 0 || flags.workers !== undefined)) {
    invocation.terminal.say(
      `muster: ${located.muster.url} has its own --tasks and --workers; those here are not used`,
    )
  }
  return located
}

function checkWords(invocation: Invocation, file: string | undefined, flags: RunFlags): void {
  const { argv } = invocation
  if (flags.hosts !== undefined && argv === undefined) {
    throw new UsageError(
      'expected a command after --, to run on the hosts of -H: muster run -H web[01-40] -- uptime',
    )
  }
  if (file !== undefined && argv !== undefined) {
    throw new UsageError(`expected a FILE or a command after --, got both: '${file}' and --`)
  }
  if (argv !== undefined && (argv.length === 0 || argv[0] === '')) {
    throw new UsageError('expected a command after --, got nothing: muster run -- uname -r')
  }
  if (file === undefined && argv === undefined) {
    throw new UsageError(
      'expected a FILE of NDJSON tasks, - for stdin, or a command: muster run -- uname -r',
    )
  }
}

interface Job {
  source: Source
  flags: RunFlags
  results: FileHandle | undefined
  departure: Departure
}

async function runOn(located: Located, invocation: Invocation, job: Job): Promise<number> {
  const { terminal } = invocation
  const { source, flags, departure } = job
  const progress = new Progress(terminal)
  try {
    if (readsTwice(flags)) {
      const code = await checkStrictly(located.muster, source, terminal, progress, flags, departure)
      if (code !== undefined) return code
    }
    return await submitAndWait(located, invocation, job, progress)
  } finally {
    progress.stop()
  }
}

async function submitAndWait(
  located: Located,
  invocation: Invocation,
  { source, flags, results, departure }: Job,
  progress: Progress,
): Promise<number> {
  const { muster } = located
  const { terminal } = invocation
  const opened = Promise.withResolvers<string>()
  // A submission that fails must end the following as well, and the other way round.
  const broken = new AbortController()
  const signal = AbortSignal.any([departure.signal, broken.signal])
  const intake = submitTo(muster, source, flags, progress, signal, opened.resolve)
  intake.catch(opened.reject)
  let id: string | undefined
  try {
    id = await opened.promise
    const kept = flags.ephemeral === true ? 'ends it' : 'leaves it: it can be resumed'
    progress.announce(`run ${id}  (Ctrl-C ${located.isHere ? kept : 'leaves it: it goes on'})`)
    const following = follow(muster, id, progress, signal)
    // Awaited below; until then a failure of the intake goes first, and is what is told.
    following.catch(() => undefined)
    const handle = await intake
    progress.clear()
    sayRejections(handle, terminal)
    if (handle.resumed) terminal.say(`going on with ${id}: ${whyResumed(flags)}`)
    const finished = await following
    progress.stop()
    if (results !== undefined) await writeResults(muster, id, results)
    await printReport(muster, finished, terminal)
    return exitCodeOfRun(finished)
  } catch (error) {
    const how = Departure.of(error)
    if (how === undefined) throw error
    progress.stop()
    await sayGoodbye(located, invocation, { id, flags, how, source })
    return exitCodes[how]
  } finally {
    broken.abort(new Error('the submission has ended'))
  }
}

function whyResumed({ idempotencyKey }: RunFlags): string {
  return idempotencyKey === undefined ? 'same content, unfinished' : 'same key, same content'
}

function submitTo(
  muster: Muster,
  source: Source,
  flags: RunFlags,
  progress: Progress,
  signal: AbortSignal,
  onOpen: (run: string) => void,
): Promise<RunHandle> {
  let isOpen = false
  return muster.submit(source.open(), {
    ...submitOptions(source, flags),
    signal,
    onOpen: (id) => {
      isOpen = true
      onOpen(id)
    },
    onSent: (bytes) => {
      if (!isOpen) progress.sent(bytes, source.bytes)
    },
  })
}

interface Goodbye {
  id: string | undefined
  source: Source
  flags: RunFlags
  how: 'timeout' | 'detached'
}

/** Say how to find the run again. */
async function sayGoodbye(
  located: Located,
  { terminal, globals }: Invocation,
  { id, source, flags, how }: Goodbye,
): Promise<void> {
  const word = how === 'timeout' ? 'stopped waiting for' : 'detached from'
  if (id === undefined) {
    terminal.warn(`muster: ${word} a run that has no name yet; the same command goes on with it`)
    return
  }
  const left = await located.muster.get(id).catch((): Run | undefined => undefined)
  const isOpen = left?.state === 'accepting'
  const rest = left === undefined ? '' : ` (${left.counts.pending} left${isOpen ? ' so far' : ''})`
  const dataDir = dataDirOf(globals)
  const canResume = source.content !== undefined || flags.idempotencyKey !== undefined
  const again = canResume ? 'the same command resumes it' : 'a node on it goes on with them'
  const what = canResume ? 'the run stays' : 'the tasks handed over stay'
  const fate = !located.isHere
    ? `the run goes on: muster watch ${id}`
    : flags.ephemeral === true
      ? 'with --ephemeral nothing of it is kept'
      : `${what} in ${dataDir}: ${again}`
  terminal.warn(`muster: ${word} ${id}${rest}; ${fate}`)
  if (terminal.json && left !== undefined) await terminal.print(`${JSON.stringify(left)}\n`)
}
