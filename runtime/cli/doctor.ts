/** `muster doctor`: is this environment fit for a node? Nothing is changed. */
import type { Config } from '../../config/schema.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import {
  checkConfig,
  checkDataDirectory,
  checkFileLimit,
  checkPort,
  checkPrograms,
  checkRedis,
  checkTokens,
  type Finding,
} from './preflight.ts'
import { checkStore } from './preflight-store.ts'
import { dataDirOf, loadSettings } from './settings.ts'
import { table } from './table.ts'

/** What a script is told, besides the findings. */
export interface DoctorReport {
  ok: boolean
  checks: Finding[]
}

const broken = 2

export async function doctor(invocation: Invocation): Promise<number> {
  const { terminal, globals } = invocation
  const checks = await look(invocation, dataDirOf(globals))
  const isBroken = checks.some(({ status }) => status === 'failed')
  const isDoubtful = checks.some(({ status }) => status === 'warning')
  if (terminal.json) {
    const report: DoctorReport = { ok: !isBroken, checks }
    await terminal.print(`${JSON.stringify(report)}\n`)
  } else await terminal.print(`${linesOf(checks, invocation).join('\n')}\n`)
  if (isBroken) return broken
  return isDoubtful ? exitCodes.notOk : exitCodes.ok
}

async function look(invocation: Invocation, dataDir: string): Promise<Finding[]> {
  let config: Config | undefined
  const settings = await checkConfig(async () => {
    const { tokenFile } = invocation.globals
    const flags = tokenFile === undefined ? {} : { 'http.tokenFile': tokenFile }
    config = await loadSettings(invocation, flags)
  })
  const directory = await checkDataDirectory(dataDir)
  const others = [checkFileLimit(), ...checkPrograms()]
  // What is in force is not known: the rest would be about something else.
  if (config === undefined) return [settings, directory, ...others]
  const [redis, store, port] = await Promise.all([
    checkRedis(config.redis.url),
    checkStore(config.store.url),
    checkPort(config.http, dataDir),
  ])
  return [settings, directory, redis, ...store, port, checkTokens(config.http), ...others]
}

function linesOf(checks: readonly Finding[], { terminal }: Invocation): string[] {
  const { green, yellow, red, dim } = terminal.out
  const colors = { ok: green, warning: yellow, failed: red, note: dim }
  const rows = checks.map(({ status, check, what }) => [status, check, what])
  const lines = table(['status', 'check', 'what was found'], rows, (cell, column) =>
    column === 0 ? colors[cell as Finding['status']] : undefined,
  )
  const [heading = '', ...rest] = lines
  return [
    heading,
    ...rest.flatMap((line, index) => {
      const mend = checks[index]?.mend
      return mend === undefined ? [line] : [line, `         ${dim('mend it:')} ${mend}`]
    }),
  ]
}
