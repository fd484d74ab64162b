/** The token that requests must bring, from the file it is kept in. */
import { readFileSync } from 'node:fs'
import { describeError, UsageError } from '../../actors/errors.ts'

/** @throws UsageError when there is no token in the file */
export function readToken(file: string | undefined): string | undefined {
  if (file === undefined) return undefined
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new UsageError(`http.tokenFile: cannot read ${file}: ${describeError(error).message}`)
  }
  if (token === '') throw new UsageError(`http.tokenFile: ${file} is empty; write a token into it`)
  return token
}
