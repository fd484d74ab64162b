/** `muster bench`: the benchmarks of bench/, in a process of their own. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { NotFoundError } from '../../actors/errors.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'

const program = join(import.meta.dir, '../../bench/run.ts')

export interface BenchFlags {
  quick?: boolean
  stage?: string
}

export async function bench(
  { globals }: Invocation,
  names: readonly string[],
  flags: BenchFlags,
): Promise<number> {
  if (!existsSync(program)) {
    throw new NotFoundError(
      'the benchmarks are not part of this installation; they are in bench/ of a checkout',
    )
  }
  const words = [
    ...(globals.json ? ['--json'] : []),
    ...(flags.quick === true ? ['--quick'] : []),
    ...(flags.stage === undefined ? [] : ['--stage', flags.stage]),
  ]
  const child = Bun.spawn([process.execPath, '--no-install', program, ...words, '--', ...names], {
    stdio: ['ignore', 'inherit', globals.quiet ? 'ignore' : 'inherit'],
  })
  // What it has started ends with it, in order.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill('SIGTERM'))
  }
  const code = await child.exited
  return child.signalCode === null ? code : exitCodes.detached
}
