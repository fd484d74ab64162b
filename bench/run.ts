/**
 * The benchmarks, all or by name, one after the other, each in a process of its own.
 *
 *   npm run bench [NAME…] [-- --json] [--quick] [--stage SIZE]
 *
 * With --json, each says what it measured in one line. Exits with 1 when one of them failed, or
 * found that the work it measured was not done right.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { nearest } from '../config/nearest.ts'
import { misused, readOptions } from './kit/options.ts'

const suffix = '.bench.ts'
const all = readdirSync(import.meta.dir)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .toSorted()

const { names, isJson, isQuick, stage } = readOptions()
for (const name of names.filter((word) => !all.includes(word))) {
  const near = nearest(name, all)
  const hint = near === undefined ? `one of ${all.join(', ')}` : `did you mean "${near}"?`
  misused(`there is no benchmark "${name}"; ${hint}`)
}
const flags = [
  ...(isJson ? ['--json'] : []),
  ...(isQuick ? ['--quick'] : []),
  ...(stage === undefined ? [] : ['--stage', stage]),
]
for (const name of names.length === 0 ? all : names) {
  const file = join(import.meta.dir, `${name}${suffix}`)
  const child = Bun.spawn([process.execPath, '--no-install', file, ...flags], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const pass = () => child.kill('SIGTERM')
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, pass)
  const code = await child.exited
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, pass)
  if (child.signalCode !== null) process.exit(1)
  if (code !== 0) process.exitCode = 1
}
