/** What of a configuration value may be shown. */

/**
 * The text without passwords: those in a URL's login and those named as such in its query. The
 * text is not parsed, for what cannot be parsed has a password all the same; and as a password may
 * have any character, all up to the last '@' belongs to it.
 */
export function hidePassword(text: string): string {
  const hidden = text.replace(/((?:password|auth|token|secret)[^=&\s]*=)[^&\s]*/gi, '$1***')
  const scheme = /^[a-z][a-z+-]*:\/\//i.exec(hidden)?.[0] ?? ''
  const [whole, login] = /^([^/][^]*)@/.exec(hidden.slice(scheme.length)) ?? []
  if (whole === undefined || login === undefined) return hidden
  const colon = login.indexOf(':')
  // A login without a colon may be a user's name or a token; only the server knows.
  const shown = colon < 0 ? '***' : `${login.slice(0, colon)}:***`
  return `${scheme}${shown}@${hidden.slice(scheme.length + whole.length)}`
}
