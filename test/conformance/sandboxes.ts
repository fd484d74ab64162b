/** What holds for the sandboxes of every provider. */
import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import type { Sandbox, SandboxBase, Sandboxes, SandboxOutput } from '../../actors/ports-sandbox.ts'
import { runSubprocess, type SubprocessResult } from '../../actors/subprocess.ts'

export interface SandboxSubject {
  sandboxes: Sandboxes
  base: SandboxBase
  /** None is made of this: it is not there. */
  missing: SandboxBase
  /** A program that does not end by itself. */
  endless: readonly string[]
}

const slow = 120_000
const times = { softKillMs: slow, hardKillMs: slow, drainMs: 200, reapMs: 10_000 }
const clock = { monotonic: () => performance.now() }

export function sandboxesConformance(name: string, { ...subject }: SandboxSubject): void {
  const { sandboxes, base, missing, endless } = subject

  const run = async (
    sandbox: Sandbox,
    argv: readonly string[],
    more: { stdin?: string; signal?: AbortSignal } = {},
  ): Promise<SubprocessResult> => {
    const { signal, ...work } = more
    const program = sandbox.prepare({ ...base, argv, env: {}, ...work })
    try {
      return await runSubprocess(program.processes, program.command, {
        times,
        outputBytesMax: 65_536,
        signals: signal === undefined ? [] : [signal],
        clock,
      })
    } finally {
      program.close()
    }
  }

  /** A sandbox of one test, taken away after it. */
  const using = async (work: (sandbox: Sandbox) => Promise<void>): Promise<void> => {
    const sandbox = await sandboxes.create(base)
    try {
      await work(sandbox)
    } finally {
      await sandbox.destroy()
    }
  }

  describe(`sandboxes, ${name}`, () => {
    // Podman takes its time.
    setDefaultTimeout(slow)
    afterAll(() => sandboxes.close())

    test('a program runs, and its output is its own', async () => {
      await using(async (sandbox) => {
        const { exit, stdout } = await run(sandbox, ['echo', 'a', 'b c'])
        expect(exit?.exitCode).toBe(0)
        expect(stdout.text()).toBe('a b c\n')
      })
    })

    test('a program reads what it is given, and nothing else', async () => {
      await using(async (sandbox) => {
        expect((await run(sandbox, ['cat'], { stdin: 'one\ntwo' })).stdout.text()).toBe('one\ntwo')
        expect((await run(sandbox, ['cat'])).stdout.text()).toBe('')
      })
    })

    test('a program that says no has run', async () => {
      await using(async (sandbox) => {
        const result = await run(sandbox, ['cat', '/not-there'])
        expect(result.exit?.exitCode).toBe(1)
        expect(sandbox.startFailure(1, saidBy(result))).toBeUndefined()
      })
    })

    test('a program that is not there has not run', async () => {
      await using(async (sandbox) => {
        const result = await run(sandbox, ['no-such-program'])
        const failure = sandbox.startFailure(result.exit?.exitCode ?? null, saidBy(result))
        expect(failure).toMatchObject({ code: 'ENOENT', isBroken: false })
        expect(failure?.message).toContain('no-such-program')
      })
    })

    test('after a reset nothing is left of what was written', async () => {
      await using(async (sandbox) => {
        await run(sandbox, ['touch', '/written'])
        expect((await run(sandbox, ['cat', '/written'])).exit?.exitCode).toBe(0)
        await sandbox.reset()
        expect((await run(sandbox, ['cat', '/written'])).exit?.exitCode).toBe(1)
        expect((await run(sandbox, ['cat', '/etc/base'])).exit?.exitCode).toBe(0)
      })
    })

    test('two sandboxes of one base do not see each other', async () => {
      await using(async (one) => {
        await using(async (other) => {
          await run(one, ['touch', '/written'])
          expect((await run(other, ['cat', '/written'])).exit?.exitCode).toBe(1)
        })
      })
    })

    test('a program ends when it is told to, and the sandbox is of use after a reset', async () => {
      await using(async (sandbox) => {
        const ending = new AbortController()
        const running = run(sandbox, endless, { signal: ending.signal })
        ending.abort()
        expect((await running).cause).toBe('aborted')
        await sandbox.reset()
        expect((await run(sandbox, ['echo', 'again'])).stdout.text()).toBe('again\n')
      })
    })

    test('what it is to be made of has to be there', async () => {
      expect(sandboxes.create(missing)).rejects.toMatchObject({ code: 'BASE_MISSING' })
    })

    test('what is taken away twice is gone', async () => {
      const sandbox = await sandboxes.create(base)
      await sandbox.destroy()
      await sandbox.destroy()
    })

    test('bases are told from each other', () => {
      expect(sandboxes.keyOf(base)).toBe(sandboxes.keyOf({ ...base }))
      expect(sandboxes.keyOf(base)).not.toBe(sandboxes.keyOf(missing))
    })
  })
}

function saidBy({ stderr, stdout }: SubprocessResult): SandboxOutput {
  return { stderr: stderr.text(), stdoutBytes: stdout.bytes }
}
