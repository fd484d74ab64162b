/** What a task of kind `http` says: one request, and what is expected of the answer. */
import { z } from 'zod'
import { outputBytesHighest } from './sayable.ts'

const tokenPattern = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
export const httpMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const
/** They frame the message, which is not the task's business. */
const ownHeaders = new Set([
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'expect',
  'te',
])

/** What is wrong with the URL of a request, if anything is. */
export function urlProblem(text: string): string | undefined {
  if (!URL.canParse(text))
    return `expected a URL such as "https://example.com/", got ${short(text)}`
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `expected a URL with http: or https:, got ${short(url.protocol)}`
  }
  if (url.port === '0') return `expected a port of 1 to 65535, got ${short(url.port)}`
  if (url.username !== '' || url.password !== '') {
    const say = 'expected a URL without user and password, got one with them'
    return `${say}: write the header "authorization" instead`
  }
  return undefined
}

/** What came, as an error says it. */
export function short(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}

/** A string about which something may be said that is wrong with it. */
const checked = (problemOf: (text: string) => string | undefined) =>
  z.string().superRefine((text, context) => {
    const message = problemOf(text)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })

const headerName = checked((name) => {
  if (!tokenPattern.test(name)) return `expected the name of a header, got ${short(name)}`
  return ownHeaders.has(name.toLowerCase())
    ? `expected a header that does not frame the message, got ${short(name)}`
    : undefined
})
const headerValue = checked((value) =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
    ? undefined
    : 'expected a value of printable Latin-1 characters, got others',
)
const status = z.int().min(100).max(599)

/**
 * @param patternProblem what is wrong with a regular expression, or undefined: whoever matches
 * bodies with them knows
 */
export const httpInputBy = (patternProblem: (source: string) => string | undefined) =>
  z.strictObject({
    url: checked(urlProblem),
    method: z.enum(httpMethods).optional(),
    headers: z.record(headerName, headerValue).optional(),
    body: z.string().optional(),
    expect: z
      .strictObject({
        /** Default: any of 200 to 299. */
        status: z.union([status, z.array(status).min(1)]).optional(),
        /** A regular expression (RE2) that the body must match, as far as it is kept. */
        bodyMatches: checked(patternProblem).optional(),
        /** The certificate must be valid for so many more days. */
        certDaysLeft: z.int().min(0).max(36_500).optional(),
      })
      .optional(),
    maxRedirects: z.int().min(0).max(20).optional(),
    maxBytes: z.int().min(0).max(outputBytesHighest).optional(),
  })

export type HttpInput = z.infer<ReturnType<typeof httpInputBy>>

/** How long each phase took, ms, summed over the redirects; 0 for what a kept connection spares. */
export interface HttpTimings {
  resolveMs: number
  connectMs: number
  tlsMs: number
  /** From the end of the request to the first byte of the answer. */
  processingMs: number
  transferMs: number
}

export interface HttpOutput {
  /** Absent where no answer came. */
  status?: number
  headers?: Record<string, string>
  /** The head of it; invalid UTF-8 is U+FFFD. */
  body?: string
  /** More would have come; it was not waited for. */
  truncated?: boolean
  /** Bytes of the body that came. */
  bodyBytes?: number
  /** Where the last answer came from. */
  url: string
  address?: string
  redirects: number
  /** Days for which the certificate is still valid; below 0 when it has expired. */
  certDaysLeft?: number
  timings: HttpTimings
  durationMs: number
}
