/** Find the node to talk to: a URL, a live node of the data directory, or one in this process. */
import { readFile } from 'node:fs/promises'
import { describeError, TokenError, UnavailableError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import { connect } from '../client.ts'
import type { Muster } from '../client-api.ts'
import { bestToken, parseTokens } from '../http/token.ts'
import type { MusterNode } from '../node.ts'
import { liveNodeFiles } from '../node-file.ts'
import type { Globals, Invocation } from './invocation.ts'
import { dataDirOf, loadSettings, type SettingFlags, sayDoubts } from './settings.ts'

export interface Located {
  muster: Muster
  /** The node runs in this process and ends with it. */
  isHere: boolean
  /** The node is on this machine. */
  isLocal: boolean
  /** @param early some of its tasks are still running: hand them back soon */
  stop(early?: boolean): Promise<void>
}

/** What a node in this process is made of; absent: this verb needs a running node. */
export interface InProcess {
  roles: ('dispatcher' | 'worker' | 'collector')[]
  ephemeral?: boolean
  tasksFiles?: string[]
  flags?: SettingFlags
  /** Aborted when we leave: what breaks off then is no news. */
  left?: AbortSignal
}

export async function locate(invocation: Invocation, inProcess?: InProcess): Promise<Located> {
  const { globals } = invocation
  const token = await readToken(globals)
  const url = namedUrl(globals)
  if (url !== undefined) {
    await sayDoubts(invocation)
    return remote(url, token, globals.url === undefined)
  }
  const dataDir = dataDirOf(globals)
  if (inProcess?.ephemeral !== true) {
    const live = await findLiveNode(dataDir)
    if (live !== undefined) {
      await sayDoubts(invocation)
      return remote(live, token, true)
    }
  }
  if (inProcess === undefined) {
    await sayDoubts(invocation)
    throw new UnavailableError(
      `no node is running on ${dataDir}; start one with \`muster start\`, or name one with --url`,
    )
  }
  return startHere(invocation, dataDir, inProcess)
}

/** The node that is named by --url or in the environment. */
export function namedUrl(globals: Globals): string | undefined {
  const url = globals.url ?? process.env['MUSTER_URL']
  return url === '' ? undefined : url
}

async function remote(url: string, token: string | undefined, isLocal: boolean): Promise<Located> {
  const muster = await connect({ url, ...(token === undefined ? {} : { token }) })
  return { muster, isHere: false, isLocal, stop: async () => {} }
}

async function startHere(
  invocation: Invocation,
  dataDir: string,
  inProcess: InProcess,
): Promise<Located> {
  const { terminal } = invocation
  const config = await loadSettings(invocation, inProcess.flags ?? {})
  const { createNode } = await import('../node.ts')
  const log = nodeLog(invocation, inProcess.left)
  const node: MusterNode = createNode({
    config,
    dataDir,
    roles: inProcess.roles,
    listen: false,
    ownsProcess: 'alone',
    ephemeral: inProcess.ephemeral === true,
    tasksFiles: inProcess.tasksFiles ?? [],
    say: (line) => terminal.say(line),
    // Whoever runs it leaves in order, as by Ctrl-C, and says how its run goes on.
    onDrainAsked: () => process.kill(process.pid, 'SIGTERM'),
    log: log.log,
  })
  try {
    await node.start()
    log.open()
  } catch (error) {
    await node.stop()
    throw error
  }
  const muster = await connect({ url: 'http://muster', fetch: (request) => node.fetch(request) })
  return {
    muster,
    isHere: true,
    isLocal: true,
    stop: (early) => node.stop(early === true ? earlyGraceMs : undefined),
  }
}

/**
 * The log of a node in this process, as lines for people. While it starts it is silent, for what
 * goes wrong then is told once, as the error that ends the command; --debug shows everything.
 */
function nodeLog(invocation: Invocation, left: AbortSignal | undefined) {
  const { terminal, globals } = invocation
  let isOpen = false
  const tell = (fields: Record<string, unknown>, message: string) => {
    if (globals.debug) terminal.warn(`muster: ${message} ${JSON.stringify(fields)}`)
    else if (isOpen && left?.aborted !== true) {
      const reason = fields['error'] ?? fields['message']
      terminal.say(`muster: ${message}${typeof reason === 'string' ? `: ${reason}` : ''}`)
    }
  }
  const hide = (fields: Record<string, unknown>, message: string) => {
    if (globals.debug) tell(fields, message)
  }
  const log: Log = { debug: () => {}, info: hide, warn: tell, error: tell }
  return {
    log,
    open: () => {
      isOpen = true
    },
  }
}

/** The bearer token of --token-file or MUSTER_TOKEN_FILE. */
export async function readToken(globals: Globals): Promise<string | undefined> {
  const file = globals.tokenFile ?? process.env['MUSTER_TOKEN_FILE']
  if (file === undefined || file === '') return undefined
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new TokenError(`cannot read the token file: ${reason}`, { cause: error })
  }
  try {
    return bestToken(parseTokens(text, `the token file ${file}`))
  } catch (error) {
    throw new TokenError(describeError(error).message, { cause: error })
  }
}

/** Whoever presses Ctrl-C does not want to wait for a task; one that is about to end may. */
const earlyGraceMs = 500

const probeMs = 1000

/** The URL of the youngest node of this data directory that is alive and answers. */
async function findLiveNode(dataDir: string): Promise<string | undefined> {
  const alive = liveNodeFiles(dataDir).sort((a, b) => b.startedAt - a.startedAt)
  for (const file of alive) {
    // After a reboot the pid may be somebody else's: only an answer counts.
    if (await answers(file.url)) return file.url
  }
  return undefined
}

/** Whether there is a node at a URL. */
export async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(probeMs) })
    await response.body?.cancel()
    return true
  } catch {
    return false
  }
}
