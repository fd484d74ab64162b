/**
 * A look at the input of an `http` task that is quicker than its schema: it says yes to what is
 * surely right, and leaves everything else, and every word about what is wrong, to the schema
 * (actors/http-input.ts).
 */
import { httpMethods, urlProblem } from './http-input.ts'

/** An origin without user or password, and a path after it that any URL may have. */
const plainUrl = /^(https?:\/\/[\w.:[\]-]+)(?:[/?#][!-~]*)?$/
/** Origins of late that are right: whether one is takes longer to find out than all the rest. */
const origins = new Set<string>()
const originsMax = 1000
/** A part of a string may keep the whole: of longer ones nothing is remembered. */
const rememberedLengthMax = 2048
const methods = new Set<unknown>(httpMethods)

/** @param isPattern whether that regular expression is known to be right */
export function isPlainHttpInput(value: unknown, isPattern: (source: string) => boolean): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  let hasUrl = false
  for (const field in value) {
    const said = (value as Record<string, unknown>)[field]
    switch (field) {
      case 'url':
        if (!isPlainUrl(said)) return false
        hasUrl = true
        break
      case 'method':
        if (!methods.has(said)) return false
        break
      case 'body':
        if (typeof said !== 'string') return false
        break
      case 'expect':
        if (!isPlainExpect(said, isPattern)) return false
        break
      default:
        return false
    }
  }
  return hasUrl
}

function isPlainUrl(said: unknown): boolean {
  const [text, origin] = typeof said === 'string' ? (plainUrl.exec(said) ?? []) : []
  if (text === undefined || origin === undefined) return false
  if (origins.has(origin)) return true
  if (urlProblem(text) !== undefined) return false
  if (text.length > rememberedLengthMax) return true
  if (origins.size >= originsMax) origins.clear()
  origins.add(origin)
  return true
}

function isPlainExpect(said: unknown, isPattern: (source: string) => boolean): boolean {
  if (typeof said !== 'object' || said === null || Array.isArray(said)) return false
  for (const field in said) {
    const wanted = (said as Record<string, unknown>)[field]
    if (field === 'status') {
      if (!Number.isInteger(wanted) || !(Number(wanted) >= 100 && Number(wanted) <= 599))
        return false
    } else if (field !== 'bodyMatches' || typeof wanted !== 'string' || !isPattern(wanted)) {
      return false
    }
  }
  return true
}
