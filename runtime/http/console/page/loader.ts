/**
 * Answers that views need. A view says while it is drawn what it needs, and of which version; what
 * is missing or of another version is asked for then, not more often than every so often, and what
 * nobody needs any more is forgotten.
 */
import { get, Refusal } from './api.ts'
import { type Loaded, store } from './store.ts'

/** Between two times that the same is asked for, ms. */
const apartMs = 1500

interface Asked {
  version: string
  at: number
  controller: AbortController
  isUnderWay: boolean
}

const asked = new Map<string, Asked>()
let needed = new Map<string, string>()

/** What there is of an answer now; it is asked for again when `version` has changed. */
export function use<T>(
  path: string,
  as: (data: unknown) => T,
  version = '',
): { data?: T; error?: string } {
  needed.set(path, version)
  const { data, error } = store.getSnapshot().context.loaded[path] ?? {}
  return {
    ...(data === undefined ? {} : { data: as(data) }),
    ...(error === undefined ? {} : { error }),
  }
}

/** Before a view is drawn. */
export function begin(): void {
  needed = new Map()
}

/** After it: asks for what is missing. */
export function settle(): void {
  let isLeft = false
  for (const [path, { controller }] of asked) {
    if (needed.has(path)) continue
    controller.abort()
    asked.delete(path)
    isLeft = true
  }
  if (isLeft) store.trigger.forgotten({ keep: new Set(needed.keys()) })
  const now = Date.now()
  for (const [path, version] of needed) {
    const before = asked.get(path)
    if (before?.version === version || before?.isUnderWay === true) continue
    // Looked at again with the next second.
    if (before !== undefined && now - before.at < apartMs) continue
    void load(path, version, now)
  }
}

/** What has just been changed by an action is asked for anew. */
export function refresh(): void {
  for (const one of asked.values()) {
    one.version = ''
    one.at = 0
  }
  store.trigger.ticked()
}

async function load(path: string, version: string, at: number): Promise<void> {
  const controller = new AbortController()
  const entry: Asked = { version, at, controller, isUnderWay: true }
  asked.set(path, entry)
  let answer: Loaded
  try {
    answer = { data: await get<unknown>(path, controller.signal) }
  } catch (error) {
    if (controller.signal.aborted) return
    const { data } = store.getSnapshot().context.loaded[path] ?? {}
    answer = {
      error: error instanceof Refusal ? error.message : String(error),
      ...(data === undefined ? {} : { data }),
    }
    // Asked for again after a while, whatever the version.
    entry.version = 'failed'
  }
  entry.isUnderWay = false
  if (controller.signal.aborted) return
  store.trigger.answered({ path, answer })
}
