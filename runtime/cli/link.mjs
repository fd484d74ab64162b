/**
 * Makes node_modules/.bin/muster after an install. npm links the bins of dependencies, never those
 * of the package it installs into, so without this `bunx muster` would not be found in a checkout.
 * Runs under Node, as npm's `prepare` step, and never makes an install fail: where there is nothing
 * to link into, or links cannot be made, `node runtime/cli/muster` still works.
 */
import { chmodSync, existsSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = join(dirname(fileURLToPath(import.meta.url)), 'muster')
const bin = join(dirname(program), '..', '..', 'node_modules', '.bin')

if (existsSync(program) && existsSync(bin)) {
  const link = join(bin, 'muster')
  try {
    chmodSync(program, 0o755)
    rmSync(link, { force: true })
    symlinkSync(relative(bin, program), link)
  } catch (error) {
    console.error(`muster: ${link} could not be made (${error.message}); use ${program} instead`)
  }
}
