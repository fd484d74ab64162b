/** What is wrong with a configuration, all of it at once. */

export interface ConfigProblem {
  /** Section and key, as `lease.renewMs`. */
  path: string
  /** Follows the word "expected". */
  expected: string
  /** What came instead, as it may be shown: no passwords. */
  found: string
  /** The known key that was probably meant. */
  nearest?: string
  /** Where it came from: the file's name, `environment variable X`, `flag --x` or `default`. */
  source: string
}

/** The configuration cannot be taken; nothing was started. The message has one line a problem. */
export class ConfigError extends Error {
  readonly code = 'CONFIG'
  readonly problems: readonly ConfigProblem[]
  constructor(problems: readonly ConfigProblem[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
    super(
      [`The configuration has ${count}:`, ...problems.map((one) => `  ${describe(one)}`)].join(
        '\n',
      ),
    )
    this.name = 'ConfigError'
    this.problems = problems
  }
}

function describe({ path, expected, found, nearest, source }: ConfigProblem): string {
  const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
  return `${path}: expected ${expected}, found ${found} (${source})${hint}`
}
