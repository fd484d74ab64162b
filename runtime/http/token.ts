/**
 * Tokens, from the file they are kept in: one a line, `write TOKEN`, `read TOKEN`, or `TOKEN`
 * alone, which may write. Blank lines and those that begin with # are passed over.
 */
import { readFileSync } from 'node:fs'
import { describeError, TokenError, UsageError } from '../../actors/errors.ts'
import type { AccessRole } from './access.ts'

export interface Token {
  role: AccessRole
  text: string
}

/** @throws TokenError when there is no token in the file, UsageError when a line is none */
export function readTokens(file: string | undefined): Token[] {
  if (file === undefined) return []
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new TokenError(`http.tokenFile: cannot read ${file}: ${describeError(error).message}`)
  }
  return parseTokens(text, `http.tokenFile: ${file}`)
}

/**
 * @throws UsageError, which names the line and shows nothing of it, TokenError when there is none
 */
export function parseTokens(text: string, where: string): Token[] {
  const tokens: Token[] = []
  for (const [index, line] of text.split('\n').entries()) {
    const words = line.trim().split(/\s+/)
    const [first = '', second] = words
    if (first === '' || first.startsWith('#')) continue
    if (words.length === 1 && first !== 'read' && first !== 'write') {
      tokens.push({ role: 'write', text: first })
    } else if (words.length === 2 && second !== undefined && isRole(first)) {
      tokens.push({ role: first, text: second })
    } else {
      const got = words.length === 1 ? 'a role without a token' : `${words.length} words`
      throw new UsageError(
        `${where}: line ${index + 1}: expected "write TOKEN", "read TOKEN" or a token without ` +
          `blanks, got ${got}`,
      )
    }
  }
  if (tokens.length === 0) throw new TokenError(`${where} is empty; write a token into it`)
  return tokens
}

/** The one to ask a node with: the first that may write, else the first. */
export function bestToken(tokens: readonly Token[]): string | undefined {
  return (tokens.find(({ role }) => role === 'write') ?? tokens[0])?.text
}

function isRole(word: string): word is AccessRole {
  return word === 'read' || word === 'write'
}
