/** The command line as its users run it: the bin, in a directory of its own. */
import { join } from 'node:path'

export const bin = join(import.meta.dir, '../../runtime/cli/muster')

export interface Muster {
  /** Starts it; the pid is that of the real process. */
  start(words: string[], stdin?: string): Bun.Subprocess<'pipe', 'pipe', 'pipe'>
  /** Runs it to its end. */
  (words: string[], stdin?: string): Promise<{ out: string; err: string; code: number }>
}

export interface MusterOptions {
  /** What comes before the words; the bin by default. */
  program?: string[]
  env?: Record<string, string>
}

/** Nothing of the tests' own environment but the PATH comes through. */
export function musterIn(folder: string, options: MusterOptions = {}): Muster {
  const { program = [bin], env = {} } = options
  const mark = process.env['TEST_PROCESS_MARK']
  const start = (words: string[], stdin?: string) => {
    const child = Bun.spawn([...program, ...words], {
      cwd: folder,
      env: {
        PATH: process.env['PATH'],
        HOME: folder,
        ...(mark === undefined ? {} : { TEST_PROCESS_MARK: mark }),
        ...env,
      },
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'pipe',
    })
    if (stdin !== undefined) void child.stdin.write(stdin)
    return child
  }
  const run = async (words: string[], stdin = '') => {
    const child = start(words, stdin)
    await child.stdin.end()
    const [out, err, code] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ])
    return { out, err, code }
  }
  return Object.assign(run, { start })
}
