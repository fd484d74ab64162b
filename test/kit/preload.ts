/**
 * Loaded before every test run (bunfig.toml): time for real processes, a seed that repeats property
 * tests, and a check that nothing outlives the tests.
 */
import { afterAll, setDefaultTimeout } from 'bun:test'
import { removeTemporaryDirectories } from './directory.ts'
import { watchLeaks } from './leaks.ts'
import { testSeed } from './random.ts'

// Servers and processes start slowly on a loaded machine; a hanging test is still told from that.
setDefaultTimeout(120_000)

if (process.env['SEED']) {
  const { configureGlobal } = await import('fast-check')
  configureGlobal({ seed: testSeed() })
}

const watch = watchLeaks()

afterAll(async () => {
  const leaks = await watch.leaks(10_000)
  watch.endProcesses()
  removeTemporaryDirectories()
  if (leaks.length > 0) {
    throw new Error(`left behind by the tests up to here:\n  ${leaks.join('\n  ')}`)
  }
})
