/** How a command comes to its end when it does not end by itself, and that it leaves nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { eventually } from '../kit/eventually.ts'
import { isAlive } from '../kit/processes.ts'
import { commandRunner, contextOf, isWritten, pidIn, sh, silent } from './command-runner.ts'

const isLinux = process.platform === 'linux'
const hasSetsid = Bun.which('setsid') !== null
if (!isLinux) console.log('skipped: descriptors and children are counted in /proc, on Linux')
if (!hasSetsid) console.log('skipped: there is no setsid here (util-linux)')
const { exec, start, stop } = commandRunner()
const openDescriptors = () => (isLinux ? readdirSync('/proc/self/fd').length : 0)

let dir: string

beforeAll(async () => {
  dir = temporaryDirectory()
  await start()
})

afterAll(stop)

async function untilGone(path: string): Promise<void> {
  await eventually(() => expect(isAlive(pidIn(path))).toBe(false))
}

describe('exec that takes too long', () => {
  test('the whole group gets SIGTERM, and nobody of it is left', async () => {
    const pids = join(dir, 'group')
    const { outcome, stage, error, output } = await exec(
      { argv: sh('sleep 60 & echo $! > "$1"; echo begun; wait', pids) },
      { timeoutMs: 1000 },
    )
    expect({ outcome, stage, error }).toEqual({
      outcome: 'timeout',
      stage: 'run',
      error: { code: 'TIMEOUT', message: 'ran longer than 1 s; ended by SIGTERM' },
    })
    expect(output.stdout).toBe('begun\n')
    expect(output.durationMs).toBeGreaterThanOrEqual(999)
    expect(output.durationMs).toBeLessThan(20_000)
    await untilGone(pids)
  })

  test('one that ignores SIGTERM gets SIGKILL after as long again', async () => {
    const { outcome, error, output } = await exec(
      { argv: sh('trap "" TERM; echo begun; while :; do sleep 0.01; done') },
      { timeoutMs: 1000 },
    )
    expect([outcome, output.signal, output.stdout]).toEqual(['timeout', 'SIGKILL', 'begun\n'])
    expect(error?.message).toBe('ran longer than 1 s; ended by SIGKILL')
    expect(output.durationMs).toBeGreaterThanOrEqual(1999)
  })

  test('one that ends well on SIGTERM is a timeout all the same', async () => {
    const { outcome, error } = await exec(
      { argv: sh('trap "exit 0" TERM; while :; do sleep 0.01; done') },
      { timeoutMs: 1000 },
    )
    expect([outcome, error?.message]).toEqual([
      'timeout',
      'ran longer than 1 s; exited with 0 after SIGTERM',
    ])
  })

  test('without timeoutMs the limits of the executor hold', async () => {
    const short = commandExecutor({ softKillMs: 100, hardKillMs: 200, log: silent })
    await short.start()
    const { outcome, error } = await short.run({ input: { argv: ['sleep', '60'] } }, contextOf())
    expect([outcome, error?.message]).toEqual([
      'timeout',
      'ran longer than 100 ms; ended by SIGTERM',
    ])
    await short.stop()
  })

  test('one that falls silent is ended, one that keeps talking is not', async () => {
    const silentFor = await exec({ argv: sh('echo a; sleep 60'), stallMs: 1000 })
    expect([silentFor.outcome, silentFor.stage, silentFor.output.stdout]).toEqual([
      'timeout',
      'run',
      'a\n',
    ])
    expect(silentFor.error).toEqual({
      code: 'STALLED',
      message: 'no output for 1 s; ended by SIGTERM',
    })
    const talking = sh('i=0; while [ $i -lt 20 ]; do echo $i; sleep 0.1; i=$((i+1)); done')
    expect((await exec({ argv: talking, stallMs: 1500 })).outcome).toBe('ok')
  })

  test('what a command leaves running in its group ends with it', async () => {
    const pids = join(dir, 'left')
    const { outcome } = await exec({
      argv: sh('sleep 60 >/dev/null 2>&1 & echo $! > "$1"', pids),
    })
    expect(outcome).toBe('ok')
    await untilGone(pids)
  })

  test.skipIf(!hasSetsid)(
    'one that left the group and holds the pipes is not waited for',
    async () => {
      const pids = join(dir, 'away')
      const script =
        'setsid sh -c \'echo $$ > "$1"; exec sleep 60\' sh "$1" & ' +
        'until [ -s "$1" ]; do :; done; echo done'
      const before = openDescriptors()
      const { outcome, output } = await exec({ argv: sh(script, pids) })
      const pid = pidIn(pids)
      try {
        await eventually(() => expect(openDescriptors()).toBeLessThanOrEqual(before))
        expect([outcome, output.stdout]).toEqual(['ok', 'done\n'])
        expect(output.durationMs).toBeLessThan(20_000)
        expect(isAlive(pid)).toBe(true)
      } finally {
        process.kill(pid, 'SIGKILL')
      }
    },
  )
})

describe('exec that is cancelled', () => {
  test('an abort kills the tree', async () => {
    const pids = join(dir, 'cancelled')
    const cancel = new AbortController()
    const running = exec({ argv: sh('sleep 60 & echo $! > "$1"; wait', pids) }, {}, cancel.signal)
    await eventually(() => expect(isWritten(pids)).toBe(true))
    cancel.abort()
    const { outcome, stage, error, output } = await running
    expect({ outcome, stage, error }).toEqual({
      outcome: 'failed',
      stage: 'run',
      error: { code: 'ABORTED', message: 'cancelled; ended by SIGKILL' },
    })
    expect(output.signal).toBe('SIGKILL')
    await untilGone(pids)
  })

  test('one that was cancelled before is not started', async () => {
    const path = join(dir, 'never')
    const { stage, error } = await exec({ argv: ['touch', path] }, {}, AbortSignal.abort())
    expect([stage, error?.code, existsSync(path)]).toEqual(['start', 'ABORTED', false])
  })

  test('stop kills all that runs and lets nothing more start; start does again', async () => {
    const own = commandExecutor({ log: silent })
    await own.start()
    const paths = [1, 2, 3].map((n) => join(dir, `stop-${n}`))
    const runs = paths.map(async (path) =>
      own.run({ input: { argv: sh('echo $$ > "$1"; sleep 60', path) } }, contextOf()),
    )
    await eventually(() => expect(paths.every(isWritten)).toBe(true))
    await own.stop()
    expect((await Promise.all(runs)).map(({ error }) => error?.code)).toEqual([
      'ABORTED',
      'ABORTED',
      'ABORTED',
    ])
    expect(paths.map(pidIn).filter(isAlive)).toEqual([])
    const input = { argv: ['true'] }
    expect((await own.run({ input }, contextOf())).stage).toBe('start')
    await own.stop()
    await own.start()
    expect((await own.run({ input }, contextOf())).outcome).toBe('ok')
    await own.stop()
  })
})

describe.skipIf(!isLinux)('exec, many times over', () => {
  const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim()

  test('300 commands leave no descriptor and no child behind', async () => {
    // As many side by side as later: of each cgroup that is used again a file stays open.
    await Promise.all([1, 2, 3, 4].map(() => exec({ argv: ['sleep', '0.2'] })))
    Bun.gc(true)
    const before = openDescriptors()
    const others = children()
    const inputs = [
      { argv: ['true'] },
      { argv: sh('echo x; exit 1') },
      { argv: ['no-such-program'] },
      { argv: ['cat'], stdin: 'text' },
    ]
    let next = 0
    const lane = async () => {
      while (next < 300) {
        await exec(inputs[next++ % inputs.length] ?? {})
      }
    }
    await Promise.all([lane(), lane(), lane(), lane()])
    await eventually(() => {
      // Of the tests before one may end meanwhile; there are no new ones.
      const known = others.split(' ')
      expect(
        children()
          .split(' ')
          .filter((pid) => !known.includes(pid)),
      ).toEqual([])
      expect(openDescriptors()).toBeLessThanOrEqual(before)
    })
    expect(next).toBeGreaterThanOrEqual(300)
  })
})
