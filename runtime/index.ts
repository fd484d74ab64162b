/** The public library: contract section 12. */
export { TerminalError } from '../actors/errors.ts'
export { defineTask } from '../actors/kind.ts'
