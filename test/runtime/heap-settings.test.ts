/** What the launcher tells Bun about its heap, and who hears of it. */
import { expect, test } from 'bun:test'
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../kit/directory.ts'
import { bin } from './cli-process.ts'

const growth = 'BUN_JSC_heapGrowthMaxIncrease'
const share = 'BUN_JSC_minEdenToOldGenerationRatio'
const interval = 'BUN_GC_TIMER_INTERVAL'

/** A launcher whose Bun is a script that prints these settings. */
function launcherIn(place: 'node_modules' | 'PATH') {
  const home = temporaryDirectory()
  cpSync(bin, join(home, 'muster'))
  const folder = place === 'PATH' ? join(home, 'bin') : join(home, 'node_modules', '.bin')
  mkdirSync(folder, { recursive: true })
  const script = join(folder, 'bun')
  const said = [growth, share, interval].map((name) => `\${${name}-none}`).join(' ')
  writeFileSync(script, `#!/bin/sh\necho "${said}"\n`)
  chmodSync(script, 0o755)
  return (env: Record<string, string> = {}) => {
    const path = `${join(home, 'bin')}:${process.env['PATH']}`
    const { stdout } = Bun.spawnSync([join(home, 'muster')], { env: { PATH: path, ...env } })
    return stdout.toString().trim()
  }
}

test('the Bun that comes along is told to let less garbage gather', () => {
  expect(launcherIn('node_modules')()).toBe('1 0.4 10000')
})

test('what its user says goes first', () => {
  expect(launcherIn('node_modules')({ [growth]: '3' })).toBe('3 0.4 10000')
})

test('any other Bun is told nothing: it may not know the settings, and would end', () => {
  expect(launcherIn('PATH')()).toBe('none none none')
})

test('they are those that the Bun that comes along knows', () => {
  const settings = { [growth]: '1', [share]: '0.4', [interval]: '10000' }
  const { exitCode } = Bun.spawnSync([process.execPath, '-e', '0'], { env: settings })
  expect(exitCode).toBe(0)
})

test('programs that are started later do not inherit them, worker processes do', () => {
  const module = join(import.meta.dir, '../../runtime/heap-settings.ts')
  const print = `["sh", "-c", "echo \${${growth}-none}"]`
  const program = `
    import { forgetHeapSettings } from ${JSON.stringify(module)}
    forgetHeapSettings()
    const own = Bun.spawnSync(${print}, { env: process.env })
    const inherited = Bun.spawnSync(${print})
    console.log(own.stdout.toString().trim(), inherited.stdout.toString().trim())`
  const env = { PATH: process.env['PATH'], [growth]: '1' }
  const { stdout } = Bun.spawnSync([process.execPath, '-e', program], { env })
  expect(stdout.toString().trim()).toBe('none 1')
})
