/** `muster start`: a node, until it is told to stop. */
import { describeError } from '../../actors/errors.ts'
import { sameSignalMs } from './departure.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { dataDirOf, loadSettings, type SettingFlags, workerSettings } from './settings.ts'

export interface StartFlags {
  role?: ('dispatcher' | 'worker' | 'collector')[]
  host?: string
  port?: number
  nodeId?: string
  label?: Record<string, string>
  workers?: number
  processes?: number
  tasks?: string[]
  ephemeral?: boolean
  printConfig?: boolean
}

export async function start(invocation: Invocation, flags: StartFlags): Promise<number> {
  const { globals, terminal } = invocation
  const config = await loadSettings(invocation, settingsOf(flags, globals.tokenFile))
  if (flags.printConfig === true) {
    const { printConfig } = await import('../../config/print.ts')
    await terminal.print(printConfig(config, terminal.json ? 'json' : 'toml'))
    return exitCodes.ok
  }
  const { createNode } = await import('../node.ts')
  const node = createNode({
    config,
    dataDir: dataDirOf(globals),
    ephemeral: flags.ephemeral === true,
    roles: [...config.node.roles],
    listen: true,
    ownsProcess: 'supervised',
    tasksFiles: flags.tasks ?? [],
    say: (line) => terminal.say(line),
  })
  let askedAt: number | undefined
  let times = 0
  const stop = (graceMs?: number) => {
    node.stop(graceMs).catch((error: unknown) => {
      terminal.warn(`muster: while stopping: ${describeError(error).message}`)
    })
  }
  const onSignal = () => {
    const now = performance.now()
    if (askedAt !== undefined && now - askedAt <= sameSignalMs) return
    askedAt = now
    times += 1
    if (times === 1) {
      terminal.say('stopping; what runs gets 12 s to finish; once more to hand it back at once')
      stop()
    } else if (times === 2) {
      terminal.say('handing back what runs; once more to leave everything as it is')
      stop(0)
    } else {
      terminal.warn('muster: stopped at once; what was running is run again by the next node')
      process.exit(exitCodes.tryAgain)
    }
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, onSignal)
  try {
    await node.start()
  } catch (error) {
    await node.stop()
    throw error
  }
  return node.stopped
}

function settingsOf(flags: StartFlags, tokenFile: string | undefined): SettingFlags {
  const settings: SettingFlags = {}
  if (flags.role !== undefined) settings['node.roles'] = flags.role
  if (flags.host !== undefined) settings['http.host'] = flags.host
  if (flags.port !== undefined) settings['http.port'] = flags.port
  if (flags.nodeId !== undefined) settings['node.id'] = flags.nodeId
  if (flags.label !== undefined) settings['node.labels'] = flags.label
  if (flags.processes !== undefined) settings['worker.processes'] = flags.processes
  Object.assign(settings, workerSettings(flags.workers))
  if (tokenFile !== undefined) settings['http.tokenFile'] = tokenFile
  return settings
}
