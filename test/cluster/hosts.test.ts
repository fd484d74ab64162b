/** Commands on hosts that run no node, through the program. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Run } from '../../actors/ports-runs.ts'
import type { ResultLine } from '../../actors/result.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { muster } from '../kit/muster.ts'
import { type SshHosts, sshdProblem, startSshHosts } from '../kit/sshd.ts'

const problem = sshdProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

describe.skipIf(problem !== undefined)('muster run -H', () => {
  let hosts: SshHosts
  let env: Record<string, string>
  const dataDir = temporaryDirectory()
  beforeAll(async () => {
    hosts = await startSshHosts(['web1', 'web2'])
    const places = [...hosts.addresses, ['web3', '127.0.0.77:1'] as const]
    const inventory = places.map(
      ([name, address]) => `${name} = { address = "${address}", labels = { role = "web" } }\n`,
    )
    writeFileSync(join(dataDir, 'muster.toml'), `[hosts]\n${inventory.join('')}`)
    env = {
      MUSTER_WORKER_SSH_CONFIG: hosts.configFile,
      MUSTER_WORKER_ATTEMPTS: '2',
      MUSTER_WORKER_RETRY_BASE_MS: '10',
    }
  })
  afterAll(() => hosts.stop())

  const jsonLines = <T>(text: string): T[] =>
    text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as T)

  const resultsOf = async (run: string) =>
    jsonLines<ResultLine>((await muster(['results', run, '--json'], { dataDir, env })).out)

  test('runs a command once on each host; one that cannot be reached is unreached', async () => {
    const script = 'echo "$SSH_CONNECTION" | cut -d" " -f3'
    const words = ['run', '-H', 'web[1-3]', '--json', '--', 'sh', '-c', script]
    const { code, out, err } = await muster(words, { dataDir, env })
    expect({ code, err }).toMatchObject({ code: 3 })
    const run = JSON.parse(out) as Run
    expect(run).toMatchObject({ total: 3, counts: { ok: 2, unreached: 1, failed: 0 } })
    const results = await resultsOf(run.id)
    expect(results.map(({ target, outcome }) => [target, outcome])).toEqual([
      ['web1', 'ok'],
      ['web2', 'ok'],
      ['web3', 'unreached'],
    ])
    expect(results[0]?.output).toMatchObject({ stdout: '127.0.0.2\n' })
    expect(results[1]?.output).toMatchObject({ stdout: '127.0.0.3\n' })
    expect(results[2]).toMatchObject({ attempt: 2, error: { code: 'UNREACHED' } })
    expect(results[2]?.error?.message).toContain('Connection refused')
  })

  test('a line may name a host as well, or the labels of several', async () => {
    const stdin = [
      { kind: 'exec', target: 'web2', key: 'web2', input: { argv: ['false'] } },
      { kind: 'exec', placement: 'all', select: { role: 'web' }, input: { argv: ['true'] } },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join('')
    const { code, out } = await muster(['run', '-', '--json'], { dataDir, env, stdin })
    expect(code).toBe(1)
    const run = JSON.parse(out) as Run
    expect(run).toMatchObject({ total: 4, counts: { ok: 2, failed: 1, unreached: 1 } })
    const targets = (await resultsOf(run.id)).map(({ target }) => target)
    expect(targets).toEqual(['web2', 'web1', 'web2', 'web3'])
  })

  test('wants a command, and a set of hosts that is one', async () => {
    const alone = await muster(['run', '-H', 'web1'], { dataDir, env })
    expect(alone.code).toBe(64)
    expect(alone.err).toContain('expected a command after --, to run on the hosts of -H')
    const broken = await muster(['run', '-H', 'web[1-', '--', 'true'], { dataDir, env })
    expect(broken.code).toBe(64)
    expect(broken.err).toContain('expected a "]" for each "["')
  })
})
