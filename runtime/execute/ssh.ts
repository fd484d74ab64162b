/**
 * Commands on hosts that run no node, by the system's own `ssh`. A connection to each host is kept
 * for all commands there (ControlMaster); it is opened before the first of them, so that a host
 * that cannot be reached is told from a command that failed.
 *
 * Where a command ends up is a shell on the other side: sshd hands what it gets to the user's login
 * shell as one line. Every word of it is quoted here, and no shell is involved on this side.
 */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeError } from '../../actors/errors.ts'
import { type ExecInput, execInput } from '../../actors/exec-input.ts'
import type { ExecuteContext, Execution, Executor, Log } from '../../actors/ports.ts'
import { Slots } from '../../actors/slots.ts'
import type { Task } from '../../actors/task.ts'
import { refusedInput } from './refused-input.ts'
import { connectionProblem, destinationOf, endScript, remoteLine } from './ssh-words.ts'
import { traceparentOf } from './trace.ts'

export interface SshOptions {
  /** Runs the local `ssh` of each command. */
  command: Executor
  /** Where the hosts are reached that are not reached by their names: [user@]host[:port]. */
  addresses: ReadonlyMap<string, string>
  /** Commands on one host at a time. */
  perHost: number
  connectMs: number
  /** In place of the user's own configuration and the system's. */
  configFile?: string
  log: Log
}

/** What ssh sees of our environment. */
const variables = ['PATH', 'HOME', 'LANG', 'USER', 'LOGNAME', 'SSH_AUTH_SOCK', 'TMPDIR']
/** A connection that nobody uses is closed after this, s. */
const persistSeconds = 60
/** Who waits says that often that he does. */
const sayMs = 5000
/** What a command on the other side gets between SIGTERM and SIGKILL, s. */
const killGraceSeconds = 2
const endMs = 6000
const drainMs = 500

interface Host {
  destination: string[]
  /** Path of the socket over which the commands share a connection. */
  socket: string
  slots: Slots
  opening?: Promise<string | undefined>
}

/** Runs what has a host there, and everything else on this machine. */
export function execOnHosts(command: Executor, remote: Executor): Executor {
  return {
    start: async (...given) => {
      await command.start(...given)
      await remote.start(...given)
    },
    // Its commands are ended by the other.
    stop: async () => {
      await command.stop()
      await remote.stop()
    },
    run: (task, context) => (context.host === undefined ? command : remote).run(task, context),
    follow: (task, context, before, recall) =>
      context.host === undefined ? command.follow?.(task, context, before, recall) : undefined,
  }
}

export function sshExecutor(options: SshOptions): Executor {
  const { log } = options
  const hosts = new Map<string, Host>()
  const running = new Set<Promise<unknown>>()
  let directory: string | undefined

  const hostOf = (name: string): Host => {
    const known = hosts.get(name)
    if (known !== undefined) return known
    // Others on this machine may look, but not go in. Short: the path of a socket has to be.
    directory ??= mkdtempSync(join(tmpdir().length <= 40 ? tmpdir() : '/tmp', 'muster-ssh-'))
    const host: Host = {
      destination: destinationOf(options.addresses.get(name) ?? name),
      socket: join(directory, createHash('sha256').update(name).digest('hex').slice(0, 12)),
      slots: new Slots(options.perHost),
    }
    hosts.set(name, host)
    return host
  }

  const execute = async (task: Task, input: ExecInput, context: ExecuteContext) => {
    const host = hostOf(context.host ?? '')
    await waitFor(context, host.slots.take(context.signal))
    try {
      if (context.signal.aborted) return failed('ABORTED', 'cancelled before it was started')
      const problem = await waitFor(context, connect(options, host))
      if (problem !== undefined) return failed('UNREACHED', problem)
      return await runThere(options, host, task, input, context)
    } finally {
      host.slots.give()
    }
  }

  return {
    async start() {},
    async stop() {
      await Promise.all(running)
      const reached = [...hosts.values()].filter(({ socket }) => existsSync(socket))
      await Promise.all(reached.map((host) => ssh(options, host, ['-O', 'exit'])))
      hosts.clear()
      if (directory !== undefined) rmSync(directory, { recursive: true, force: true })
      directory = undefined
    },
    run(task, context) {
      const parsed = execInput.safeParse(task.input)
      if (!parsed.success) return refusedInput(parsed.error.issues)
      const refusal = refusedLimits(parsed.data)
      if (refusal !== undefined) return refusal
      const execution = execute(task, parsed.data, context).catch((error: unknown): Execution => {
        const { code, message } = describeError(error)
        log.error({ run: context.run, seq: context.seq, code, message }, 'exec over ssh broke')
        return failed(code, message)
      })
      running.add(execution)
      void execution.then(() => running.delete(execution))
      return execution
    },
  }
}

function failed(code: string, message: string): Execution {
  return { outcome: 'failed', error: { code, message }, stage: 'start' }
}

/** What cannot be held there is refused, and not passed over. */
function refusedLimits({ limits = {} }: ExecInput): Execution | undefined {
  const { outputBytes: _, ...held } = limits
  const names = Object.keys(held)
  if (names.length === 0) return undefined
  const message = `limits.${names.join(', limits.')}: expected none for a host reached by ssh`
  return { outcome: 'failed', error: { code: 'LIMITS_UNAVAILABLE', message }, stage: 'terminal' }
}

/** Who waits for what is not the command's own is not hung; each wait has a limit of its own. */
async function waitFor<Value>(
  { progress }: ExecuteContext,
  something: Promise<Value> | undefined,
): Promise<Value | undefined> {
  if (something === undefined) return undefined
  const saying = setInterval(() => progress?.(), sayMs)
  try {
    return await something
  } finally {
    clearInterval(saying)
    progress?.()
  }
}

/** @returns why the host cannot be reached; undefined when there is a connection to it */
function connect(options: SshOptions, host: Host): Promise<string | undefined> | undefined {
  if (host.opening !== undefined) return host.opening
  if (existsSync(host.socket)) return undefined
  const opening = open(options, host).finally(() => {
    delete host.opening
  })
  host.opening = opening
  return opening
}

async function open(options: SshOptions, host: Host): Promise<string | undefined> {
  // Into the background once the login is done: that it ends says that the connection is there.
  const master = ['-M', '-N', '-f', '-o', `ControlPersist=${persistSeconds}`]
  const { exitCode, stderr } = await ssh(options, host, master)
  return exitCode === 0 ? undefined : connectionProblem(stderr, options.connectMs)
}

/**
 * A call of ssh that is none of a task: to open a connection, to ask about it, to end something.
 * Only it is ended when its time is up, and nobody of its group: a connection that goes to the
 * background leaves that a moment after the login is done.
 */
async function ssh(
  options: SshOptions,
  host: Host,
  words: readonly string[],
  line: readonly string[] = [],
): Promise<{ exitCode: number; stderr: string }> {
  const env = Object.fromEntries(
    variables.flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    }),
  )
  const argv = ['ssh', ...commonWords(options, host), ...words, ...host.destination, ...line]
  const child = Bun.spawn(argv, {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    // A Ctrl-C at the terminal is for the node alone.
    detached: true,
  })
  const limit = setTimeout(() => child.kill('SIGKILL'), options.connectMs + endMs)
  const reading = new Response(child.stderr).text()
  const exitCode = await child.exited
  clearTimeout(limit)
  // What is in the background may hold the pipe a little longer.
  const late = Promise.withResolvers<string>()
  const lateness = setTimeout(() => late.resolve(''), drainMs)
  const stderr = await Promise.race([reading, late.promise])
  clearTimeout(lateness)
  return { exitCode, stderr }
}

/** Nobody is there to be asked, and a host whose key is not known is not talked to. */
function commonWords({ configFile, connectMs }: SshOptions, { socket }: Host): string[] {
  const settings = {
    BatchMode: 'yes',
    StrictHostKeyChecking: 'yes',
    ConnectTimeout: String(Math.ceil(connectMs / 1000)),
    ConnectionAttempts: '1',
    ServerAliveInterval: '15',
    ServerAliveCountMax: '3',
    ForwardAgent: 'no',
    ForwardX11: 'no',
    ClearAllForwardings: 'yes',
    PermitLocalCommand: 'no',
    RequestTTY: 'no',
    LogLevel: 'ERROR',
  }
  return [
    ...(configFile === undefined ? [] : ['-F', configFile]),
    ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    '-S',
    socket,
  ]
}

async function runThere(
  options: SshOptions,
  host: Host,
  task: Task,
  input: ExecInput,
  context: ExecuteContext,
): Promise<Execution> {
  const token = randomUUID()
  const { run, seq } = context
  const line = remoteLine({
    ...input,
    token,
    env: {
      ...input.env,
      MUSTER_RUN: run,
      MUSTER_SEQ: String(seq),
      TRACEPARENT: traceparentOf(context),
    },
  })
  const { env: _, cwd: __, limits, ...rest } = input
  // What is said here is to be the command's own words. Without the connection that is shared it
  // must not make one of its own: then nobody could tell whether it ran.
  const client = ['-o', 'ControlMaster=no', '-o', 'ProxyCommand=false', '-q']
  const argv = ['ssh', ...commonWords(options, host), ...client, ...host.destination]
  const here: ExecInput = {
    ...rest,
    argv: [...argv, line],
    ...(limits?.outputBytes === undefined ? {} : { limits: { outputBytes: limits.outputBytes } }),
  }
  const connection = connectionOf(host)
  const execution = await options.command.run({ ...task, input: here }, context)
  if (execution.stage === 'start') return execution
  const { code } = execution.error ?? {}
  if (code === 'TIMEOUT' || code === 'STALLED' || code === 'ABORTED') {
    const isEnded = (await waitFor(context, endThere(options, host, token))) === true
    return endedThere(execution, isEnded)
  }
  if (exitCodeOf(execution) !== 255) return execution
  // Also what ssh itself says when it has lost its connection: then nobody else has it either.
  if (await isStillThere(options, host, connection)) return execution
  await waitFor(context, endThere(options, host, token))
  const message = 'the connection to its host was lost, before it ran or while it did'
  const stage = task.delivery === 'at-most-once' ? 'terminal' : 'start'
  const error = { code: 'CONNECTION_LOST', message }
  return { ...execution, outcome: 'failed', error, stage }
}

/** How the `ssh` here ended says nothing of how the command did. */
function endedThere({ output, error, ...rest }: Execution, isEnded: boolean): Execution {
  const [why = ''] = (error?.message ?? '').split('; ')
  const message = `${why}; ${isEnded ? 'it was ended there' : 'it may still run there'}`
  const said = typeof output === 'object' && output !== null ? output : {}
  return {
    ...rest,
    output: { ...said, exitCode: null, signal: null },
    error: { code: error?.code ?? 'ABORTED', message },
  }
}

/** What tells the one that commands share now from one that was opened in its place. */
function connectionOf({ socket }: Host): string {
  const { ino, mtimeMs } = statSync(socket, { throwIfNoEntry: false }) ?? {}
  return `${ino} ${mtimeMs}`
}

/** Where it is not, the next command opens another one. */
async function isStillThere(options: SshOptions, host: Host, connection: string): Promise<boolean> {
  const { exitCode } = await ssh(options, host, ['-O', 'check'])
  // By now it may be another one that answers: somebody else has missed the first one before us.
  if (connectionOf(host) !== connection) return false
  // One that was killed leaves its socket.
  if (exitCode !== 0) rmSync(host.socket, { force: true })
  return exitCode === 0
}

/**
 * Nobody there has heard that it is over: what was started there would go on without us.
 * @returns whether the host was told
 */
async function endThere(options: SshOptions, host: Host, token: string): Promise<boolean> {
  const { exitCode, stderr } = await ssh(
    options,
    host,
    ['-o', 'ControlMaster=no'],
    [endScript(token, killGraceSeconds)],
  )
  if (exitCode === 0) return true
  const fields = { host: host.destination.at(-1), exitCode, stderr: stderr.slice(-500) }
  options.log.warn(fields, 'a command on a host may still run there: it could not be ended')
  return false
}

function exitCodeOf({ output }: Execution): number | undefined {
  if (typeof output !== 'object' || output === null || !('exitCode' in output)) return undefined
  return typeof output.exitCode === 'number' ? output.exitCode : undefined
}
