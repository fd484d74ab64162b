/**
 * Crashes at named points, for processes of the product that know nothing of it: preloaded into
 * them (crash-plans.ts), it kills its process by SIGKILL the moment before, or after, the n-th
 * command of a kind. What Redis has answered then, nobody has acted upon.
 *
 * Points: `<command>:before` and `<command>:after` for each script of runtime/redis/scripts and
 * for `add`, `fetch`, `ack`, `renew`, `giveBack` and `stall` of the mailboxes;
 * `put:before|inside|after` of the result store; `audit:before|torn|after` of the audit log; and
 * whatever a handler calls by itself, as `effect:before` (chaos/tasks.ts).
 */
import { Database } from 'bun:sqlite'
import { createHash } from 'node:crypto'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { Redis } from 'ioredis'

const load = createRequire(import.meta.url)
const fs = load('node:fs') as typeof import('node:fs')

const folder = process.env['CRASH_FOLDER'] ?? ''
const isWorker = process.argv[1]?.endsWith('worker-main.ts') === true
const role = isWorker ? 'worker' : (process.env['CRASH_ROLE'] ?? 'node')
const planFile = join(folder, `${role}.json`)

let plan: { point: string; left: number } | undefined

/** The process has come to a point: it is the end of it, if that was the plan. */
function reach(point: string): void {
  if (!fs.existsSync(planFile)) {
    plan = undefined
    return
  }
  plan ??= readPlan()
  if (plan?.point !== point) return
  plan.left -= 1
  if (plan.left > 0) return
  plan = undefined
  try {
    // Of several processes with one plan, one crashes.
    fs.renameSync(planFile, `${planFile}.fired`)
  } catch {
    return
  }
  process.kill(process.pid, 'SIGKILL')
}

function readPlan(): { point: string; left: number } | undefined {
  try {
    const { point, nth } = JSON.parse(fs.readFileSync(planFile, 'utf8')) as {
      point: string
      nth: number
    }
    return { point, left: nth }
  } catch {
    // Gone again: somebody else has crashed.
    return undefined
  }
}

/* ---- commands to Redis ---- */

const bullNames: readonly (readonly [RegExp, string])[] = [
  [/^add\w*Job\b/, 'add'],
  [/^moveToActive\b/, 'fetch'],
  [/^moveToFinished\b/, 'ack'],
  [/^extendLocks?\b/, 'renew'],
  [/^moveJobFromActiveToWait\b/, 'giveBack'],
  [/^moveStalledJobsToWait\b/, 'stall'],
]

const pointBySha = new Map<string, string>()
const shaOf = (text: string) => createHash('sha1').update(text).digest('hex')

function knowScripts(): void {
  const scripts = join(import.meta.dir, '../../runtime/redis/scripts')
  for (const name of fs.readdirSync(scripts)) {
    const source = fs.readFileSync(join(scripts, name), 'utf8')
    pointBySha.set(shaOf(source), name.replace(/\.lua$/, ''))
  }
}

interface Command {
  name: string
  args: readonly unknown[]
  promise: Promise<unknown>
}

function pointOf({ name, args }: Command): string | undefined {
  const [first] = args
  if (typeof first !== 'string') return undefined
  if (name === 'evalsha') return pointBySha.get(first)
  if (name === 'eval') return pointBySha.get(shaOf(first))
  return undefined
}

function watchRedis(): void {
  const prototype = Redis.prototype as unknown as {
    sendCommand(this: unknown, command: Command, stream?: unknown): unknown
    defineCommand(this: unknown, name: string, definition: { lua: string }): unknown
  }
  const { sendCommand, defineCommand } = prototype
  prototype.defineCommand = function (name, definition) {
    const point = bullNames.find(([pattern]) => pattern.test(name))?.[1]
    if (point !== undefined) pointBySha.set(shaOf(definition.lua), point)
    return defineCommand.call(this, name, definition)
  }
  prototype.sendCommand = function (command, stream) {
    const point = pointOf(command)
    if (point === undefined) return sendCommand.call(this, command, stream)
    reach(`${point}:before`)
    command.promise.then(
      () => reach(`${point}:after`),
      () => undefined,
    )
    return sendCommand.call(this, command, stream)
  }
}

/* ---- files ---- */

function watchStore(): void {
  const prototype = Database.prototype as unknown as {
    transaction(
      this: unknown,
      inside: (...args: unknown[]) => unknown,
    ): {
      immediate(...args: unknown[]): unknown
    }
  }
  const { transaction } = prototype
  prototype.transaction = function (inside) {
    const made = transaction.call(this, (...args) => {
      const value = inside(...args)
      reach('put:inside')
      return value
    })
    // What bun:sqlite makes cannot be changed; only this way of calling it is used.
    return {
      immediate: (...args) => {
        reach('put:before')
        const value = made.immediate(...args)
        reach('put:after')
        return value
      },
    }
  }
}

function watchAudit(): void {
  const { writeSync, readlinkSync } = fs
  const isAudit = (descriptor: number) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).endsWith('/audit.ndjson')
    } catch {
      return false
    }
  }
  const write = (descriptor: number, bytes: unknown, ...rest: unknown[]): number => {
    const call = (what: unknown) =>
      (writeSync as (...args: unknown[]) => number)(descriptor, what, ...rest)
    if (!Buffer.isBuffer(bytes) || !isAudit(descriptor)) return call(bytes)
    reach('audit:before')
    if (plan?.point === 'audit:torn') {
      // As if the process had been killed in the middle of it.
      const half = Math.ceil(bytes.length / 2)
      if (plan.left === 1) writeSync(descriptor, bytes, 0, half)
      reach('audit:torn')
    }
    const written = call(bytes)
    reach('audit:after')
    return written
  }
  Object.assign(fs, { writeSync: write })
  syncBuiltinESMExports()
}

/** Threads preload nothing by themselves. */
function watchThreads(): void {
  const { Worker: Thread } = globalThis
  globalThis.Worker = class extends Thread {
    constructor(url: string | URL, options: Bun.WorkerOptions = {}) {
      super(url, { ...options, preload: [import.meta.path] })
    }
  }
}

if (folder !== '') {
  watchThreads()
  knowScripts()
  watchRedis()
  watchStore()
  watchAudit()
  Object.assign(globalThis, { crashPoint: reach })
}
