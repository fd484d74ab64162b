/**
 * Everything that CI runs, in one command that needs nothing but Node: `npm test`.
 *
 *   --static   only what reads the code: format, lint, types, dead code (`npm run check`)
 *   --quick    that and the tests that need no Redis
 *   WORD …     only the test files with one of these words in their path
 *
 * Every step runs, whatever the ones before said. The last line is `N passed, N failed`. Each test
 * file has a process of its own: one that hangs, crashes or leaks is named and harms no other.
 *
 * As many run at once as there are cores, JOBS in the environment says otherwise; most of the long
 * ones wait most of the time. A file with a line `Runs alone: WHY` in its first comment has the
 * machine for itself, after the others.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const bin = join(root, 'node_modules', '.bin')
const fileTimeoutMs = 600_000
/** The longest first, so that no core is without work at the end. */
const longFolders = ['test/chaos/', 'test/cluster/']
const unitFolders = ['test/machines/', 'test/actors/', 'test/config/', 'test/architecture.test.ts']

const options = process.argv.slice(2)
const flags = options.filter((option) => option.startsWith('--'))
const words = options.filter((option) => !option.startsWith('--'))
const unknown = flags.find((flag) => flag !== '--static' && flag !== '--quick')
if (unknown) {
  console.error(`${unknown}: expected --static, --quick or words of test file names`)
  process.exit(64)
}
if (!existsSync(join(bin, 'bun'))) {
  console.error('node_modules is missing or incomplete; run: npm ci')
  process.exit(1)
}

const jobs = Number(process.env.JOBS ?? Math.min(availableParallelism(), 4))
if (!Number.isInteger(jobs) || jobs < 1) {
  console.error(`JOBS: expected a whole number from 1 up, got ${process.env.JOBS}`)
  process.exit(64)
}
const seed = process.env.SEED || String(Math.trunc(Math.random() * 2 ** 31))
const environment = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env.PATH}`,
  SEED: seed,
  NO_COLOR: '1',
  FORCE_COLOR: undefined,
}

let passed = 0
let failed = 0
let skipped = 0
const failedTitles = []
const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    for (const child of running) kill(child, 'SIGKILL')
    process.exit(1)
  })
}

if (words.length === 0) await checkCode()
if (!flags.includes('--static')) await runTests()
if (failedTitles.length > 0) console.log(`\nfailed:\n  ${failedTitles.join('\n  ')}`)
if (skipped > 0) console.log(`\n${skipped} skipped`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

/** The check:… scripts of package.json, each one passed or failed. */
async function checkCode() {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const checks = Object.entries(scripts).filter(([name]) => name.startsWith('check:'))
  await inLanes(jobs, checks, async ([name, command]) => {
    const [program, ...args] = command.split(' ')
    const result = await run(join(bin, program), args)
    report(`${name.replace(':', ' ')}: ${command}`, result, result.code === 0 ? [1, 0] : [0, 1])
  })
}

/** Resolves when `work` has been done for each, by so many at a time, begun in this order. */
async function inLanes(lanes, items, work) {
  const left = [...items]
  const lane = async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: lanes }, lane))
}

async function runTests() {
  if (!flags.includes('--quick')) {
    const server = await run(join(bin, 'bun'), ['test/kit/server.ts'])
    if (server.code === 0) console.log(server.output.trim())
    else report('a redis-server for the tests', server, [0, 1])
  }
  const files = testFiles()
  if (files.length === 0) {
    console.log(`no test file matches ${words.join(', ') || 'test/**/*.test.ts'}`)
    failed++
  }
  console.log(`\nbun test, SEED=${seed}, JOBS=${jobs}`)
  const reports = mkdtempSync(join(tmpdir(), 'muster-junit-'))
  const test = async (file) => {
    const junit = join(reports, `${file.replaceAll('/', '_')}.xml`)
    const result = await run(join(bin, 'bun'), [
      '--conditions=development',
      'test',
      `./${file}`,
      '--only-failures',
      '--reporter=junit',
      `--reporter-outfile=${junit}`,
    ])
    report(file, result, count(junit, result.code))
  }
  const alone = files.filter(runsAlone)
  try {
    await inLanes(
      jobs,
      files.filter((file) => !alone.includes(file)),
      test,
    )
    await inLanes(1, alone, test)
  } finally {
    rmSync(reports, { recursive: true, force: true })
  }
}

function runsAlone(file) {
  const [comment] = readFileSync(join(root, file), 'utf8').split('*/', 1)
  return comment.startsWith('/**') && /^[/ ]\*+ Runs alone: ./m.test(comment)
}

function testFiles() {
  return readdirSync(join(root, 'test'), { recursive: true })
    .map((path) => `test/${path.replaceAll('\\', '/')}`)
    .filter((path) => path.endsWith('.test.ts'))
    .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
    .filter(
      (path) => !flags.includes('--quick') || unitFolders.some((unit) => path.startsWith(unit)),
    )
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
}

function rank(path) {
  return longFolders.some((folder) => path.startsWith(folder)) ? 0 : 1
}

/** Passed and failed tests of one file. One that ends badly, or has no test, is a failed one. */
function count(junit, code) {
  const xml = existsSync(junit) ? readFileSync(junit, 'utf8') : ''
  const [suites = ''] = /<testsuites [^>]*>/.exec(xml) ?? []
  const number = (name) => Number(new RegExp(` ${name}="(\\d+)"`).exec(suites)?.[1] ?? 0)
  const [tests, failures] = [number('tests'), number('failures')]
  skipped += number('skipped')
  const ended = code === 0 && tests > 0
  return [tests - failures - number('skipped'), failures === 0 && !ended ? 1 : failures]
}

/** One line; all that was said where something failed. */
function report(title, { output, durationMs, timedOut }, [passedHere, failedHere]) {
  passed += passedHere
  failed += failedHere
  if (failedHere > 0) failedTitles.push(title)
  const counts = failedHere === 0 ? `${passedHere} passed` : `${failedHere} failed`
  console.log(`${failedHere === 0 ? 'ok  ' : 'FAIL'} ${title} (${counts}, ${durationMs} ms)`)
  if (timedOut) console.log(`ended by force: it took more than ${fileTimeoutMs / 1000} s`)
  if (failedHere > 0) console.log(`${output.trimEnd()}\n`)
}

/** Runs a program to its end, or to ours; what it left in its process group ends with it. */
function run(program, args) {
  const startedAt = performance.now()
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    running.add(child)
    let output = ''
    let timedOut = false
    const limit = setTimeout(() => {
      timedOut = true
      kill(child, 'SIGKILL')
    }, fileTimeoutMs)
    const end = (code) => {
      clearTimeout(limit)
      running.delete(child)
      kill(child, 'SIGKILL')
      resolve({ code, output, timedOut, durationMs: Math.round(performance.now() - startedAt) })
    }
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text
      })
    }
    child.on('error', (error) => {
      output += `${program} could not be started: ${error.message}`
      end(1)
    })
    // 'close' waits for the pipes, which something left behind may hold open for ever.
    child.on('exit', (code) => {
      const drained = setTimeout(() => end(code ?? 1), 1000)
      child.on('close', () => {
        clearTimeout(drained)
        if (running.has(child)) end(code ?? 1)
      })
    })
  })
}

function kill(child, signal) {
  if (child?.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}
