/**
 * The flags that every benchmark takes.
 *
 *   --quick       few and small rounds: to see that it works, not to quote
 *   --json        the report as one line of JSON
 *   --stage SIZE  the largest stage, where there are stages: 10k, 100k, 1m or 10m
 */
import { parseArgs } from 'node:util'
import { describeError } from '../../actors/errors.ts'

export interface Options {
  isQuick: boolean
  isJson: boolean
  stage?: string
  /** Words that are no flags. */
  names: string[]
}

/** Of this process; ends it with 64 when they cannot be understood. */
export function readOptions(): Options {
  try {
    const { values, positionals } = parseArgs({
      args: process.argv.slice(2),
      options: {
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        stage: { type: 'string' },
      },
      allowPositionals: true,
    })
    const { quick, json, stage } = values
    const chosen = stage === undefined ? {} : { stage }
    return { isQuick: quick, isJson: json, names: positionals, ...chosen }
  } catch (error) {
    return misused(describeError(error).message)
  }
}

export function misused(message: string): never {
  console.error(message)
  process.exit(64)
}
