/**
 * The states of a node, which of them may follow which, what they mean for its work, and when a
 * node changes its own. There is hysteresis: bad has to last before anything is slowed down, and
 * good has to last longer before it is not.
 */
export const systemStates = ['PAUSED', 'RECOVERY', 'OPERATIONAL', 'DEGRADED', 'REFLECTIVE'] as const

export type SystemState = (typeof systemStates)[number]

/** The 17 allowed transitions. */
const successors: Record<SystemState, readonly SystemState[]> = {
  PAUSED: ['RECOVERY', 'OPERATIONAL'],
  RECOVERY: ['OPERATIONAL', 'DEGRADED', 'PAUSED'],
  OPERATIONAL: ['DEGRADED', 'REFLECTIVE', 'RECOVERY', 'PAUSED'],
  DEGRADED: ['OPERATIONAL', 'REFLECTIVE', 'RECOVERY', 'PAUSED'],
  REFLECTIVE: ['OPERATIONAL', 'DEGRADED', 'RECOVERY', 'PAUSED'],
}

/** What share of its rate and of its concurrency a node works with. */
export const shares: Record<SystemState, number> = {
  PAUSED: 0,
  RECOVERY: 0.25,
  OPERATIONAL: 1,
  DEGRADED: 0.5,
  REFLECTIVE: 0.25,
}

export function isSystemState(word: string): word is SystemState {
  return (systemStates as readonly string[]).includes(word)
}

/** States that may follow, itself left out. */
export function successorsOf(from: SystemState): readonly SystemState[] {
  return successors[from]
}

/** What a node sees of itself. */
export interface SystemFacts {
  /** What it stands on and is not as it should be, as sentences. */
  ailments: readonly string[]
  /** 0 to 1; undefined where nobody measures it. */
  health?: number | undefined
  /** What makes it low, as a phrase. */
  because?: string | undefined
  /** In its log, within the window and since it changed its state. */
  errors: number
  warnings: number
}

export interface SystemPolicy {
  /** How long something has to be wrong before the node is DEGRADED, ms. */
  worsenMs: number
  /** How long all has to be well before it is OPERATIONAL again, ms. */
  mendMs: number
  /** How long RECOVERY lasts at least, ms. */
  settleMs: number
  /** A start that takes longer than this ends in DEGRADED, ms. */
  bootMs: number
  /** Between two times that it reflects unasked, ms. */
  reflectApartMs: number
}

/** Findings that make a node reflect, and health below which it does. */
const errorsMax = 3
const warningsMax = 10
const reflectBelow = 0.7
/** Health from which on it counts as well: a DEGRADED node has 0.85 at best. */
const wellFrom = 0.8
const wellAfterReflection = 0.9

/** What a reflection came to. */
export interface Diagnosis {
  health: number
  findings: readonly Finding[]
}

export interface Finding {
  severity: 'info' | 'warning' | 'error' | 'critical'
  /** One sentence. */
  what: string
}

/** What it remembers from one look at itself to the next; moments are monotonic ms. */
export interface SystemMarks {
  policy: SystemPolicy
  /** Everything of the node has come up once. */
  isUp: boolean
  /** When it entered its state. */
  sinceAt: number
  /** Somebody asked for its state: the node does not leave it by itself. */
  isHeld: boolean
  facts: SystemFacts
  /** Since when something has been wrong, all has been well, health has been low. */
  illAt: number | undefined
  wellAt: number | undefined
  lowAt: number | undefined
  /** When it last reflected. */
  reflectedAt: number | undefined
}

export function marks(seen: SystemMarks, facts: SystemFacts, at: number): Partial<SystemMarks> {
  const isIll = facts.ailments.length > 0
  const isWell = !isIll && (facts.health === undefined || facts.health >= wellFrom)
  return {
    facts,
    illAt: isIll ? (seen.illAt ?? at) : undefined,
    lowAt: isLow(facts) ? (seen.lowAt ?? at) : undefined,
    wellAt: isWell ? (seen.wellAt ?? at) : undefined,
  }
}

function isLow({ health }: SystemFacts): boolean {
  return health !== undefined && health < reflectBelow
}

/** Looks are a second apart, but for the moment that each takes. */
const looseMs = 100

function lasts(since: number | undefined, at: number, ms: number): boolean {
  return since !== undefined && at - since >= ms - Math.min(looseMs, ms / 10)
}

/** Why it should reflect, if it should. */
function triggerOf(state: SystemState, seen: SystemMarks, at: number): string | undefined {
  const { facts, policy, lowAt, reflectedAt } = seen
  // What is known to be wrong needs no looking for.
  if (facts.ailments.length > 0) return undefined
  if (reflectedAt !== undefined && at - reflectedAt < policy.reflectApartMs) return undefined
  // What a degraded node logs tells of what degraded it.
  const isNoisy = state === 'OPERATIONAL'
  if (isNoisy && facts.errors >= errorsMax) return `${facts.errors} errors in the log`
  if (isNoisy && facts.warnings >= warningsMax) return `${facts.warnings} warnings in the log`
  return lasts(lowAt, at, policy.worsenMs) ? lowHealth(facts) : undefined
}

function lowHealth({ health = 0, because }: SystemFacts): string {
  const level = `health is ${Math.round(health * 100) / 100}`
  return because === undefined ? level : `${level}: ${because}`
}

interface Verdict {
  to: SystemState
  reason: string
}

/** Where the node goes by itself from a state, if anywhere. */
export function judge(state: SystemState, seen: SystemMarks, at: number): Verdict | undefined {
  const { facts, policy, illAt, wellAt, lowAt, sinceAt, isUp } = seen
  const ailing: Verdict = { to: 'DEGRADED', reason: facts.ailments.join('; ') }
  if (state === 'RECOVERY') {
    const isDue = at - sinceAt >= (isUp ? policy.settleMs : policy.bootMs)
    if (!isDue) return undefined
    if (facts.ailments.length > 0) return ailing
    // A reflection that led here has found nothing that passes by itself.
    if (isLow(facts)) return { to: 'DEGRADED', reason: lowHealth(facts) }
    if (isUp) return { to: 'OPERATIONAL', reason: 'all is well' }
    return { to: 'DEGRADED', reason: `its start has taken more than ${policy.bootMs} ms` }
  }
  if (seen.isHeld) return undefined
  if (state === 'OPERATIONAL' && lasts(illAt, at, policy.worsenMs)) return ailing
  if (state === 'DEGRADED' && lasts(wellAt, at, policy.mendMs)) {
    return { to: 'OPERATIONAL', reason: `all has been well for ${policy.mendMs / 1000} s` }
  }
  if (state !== 'OPERATIONAL' && state !== 'DEGRADED') return undefined
  const trigger = triggerOf(state, seen, at)
  if (trigger !== undefined) return { to: 'REFLECTIVE', reason: trigger }
  // It has reflected on that not long ago.
  const isSlow = state === 'OPERATIONAL' && lasts(lowAt, at, policy.worsenMs)
  return isSlow ? { to: 'DEGRADED', reason: lowHealth(facts) } : undefined
}

/** Where a reflection ends. */
export function afterReflection({ health, findings }: Diagnosis): Verdict {
  const isCritical = findings.some(({ severity }) => severity === 'critical')
  const told = findings.filter(({ severity }) => severity !== 'info').map(({ what }) => what)
  const found = told.length === 0 ? 'found nothing' : `found: ${told.slice(0, 3).join('; ')}`
  const reason = `reflected, health ${Math.round(health * 100) / 100}, ${found}`
  if (health > wellAfterReflection && !isCritical) return { to: 'OPERATIONAL', reason }
  return { to: health > reflectBelow ? 'DEGRADED' : 'RECOVERY', reason }
}
