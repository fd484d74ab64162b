/** The executors whose work is not a child of this process, or not in its file system. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecOutput } from '../../actors/exec-input.ts'
import type { Executor } from '../../actors/ports.ts'
import { commandExecutor } from '../../runtime/execute/command.ts'
import { execOnHosts, sshExecutor } from '../../runtime/execute/ssh.ts'
import { temporaryDirectory } from '../kit/directory.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { type SshHosts, sshdProblem, startSshHosts } from '../kit/sshd.ts'
import { silent } from '../runtime/command-runner.ts'
import { containerRunner } from '../runtime/container-runner.ts'
import { type ExecutorUnderTest, executorSuite } from './executors.ts'

const told: ExecutorUnderTest['told'] = ({ output }) => (output as ExecOutput).stdout

function ofCommands(executor: Executor, where: Record<string, unknown>): ExecutorUnderTest {
  return {
    name: 'commands',
    executor,
    says: (word) => ({ ...where, argv: ['echo', '-n', word] }),
    told,
    refuses: { input: { ...where, argv: ['sh', '-c', 'exit 3'] }, code: 'EXIT' },
    lasts: { ...where, argv: ['sleep', '60'] },
    unfit: { ...where, argv: 'uname -r' },
  }
}

executorSuite(
  () => ofCommands(containerRunner({ mode: 'host' }).executor, { image: 'any' }),
  'container, without any',
)

const noRoot = rootProblem()
if (noRoot === undefined) {
  const root = makeRoot()
  executorSuite(() => ofCommands(containerRunner().executor, { root }), 'container of a root')
} else console.log(`skipped, containers by namespaces: ${noRoot}`)

const noSshd = sshdProblem()
if (noSshd !== undefined) console.log(`skipped, commands on hosts: ${noSshd}`)
describe.skipIf(noSshd !== undefined)('by ssh', () => {
  let hosts: SshHosts
  beforeAll(async () => {
    hosts = await startSshHosts(['a'])
  })
  afterAll(() => hosts.stop())

  executorSuite(() => {
    const command = commandExecutor({ log: silent })
    const { addresses, configFile } = hosts
    const remote = sshExecutor({
      command,
      addresses,
      configFile,
      perHost: 8,
      connectMs: 5000,
      log: silent,
    })
    const both = execOnHosts(command, remote)
    const there: Executor = {
      start: () => both.start(),
      stop: () => both.stop(),
      run: (task, context) => both.run(task, { ...context, host: 'a' }),
    }
    return ofCommands(there, {})
  }, 'exec over ssh')

  test('a host that wants to ask for a password is not waited for', async () => {
    const configFile = join(temporaryDirectory(), 'config')
    const known = hosts.knownHosts
    writeFileSync(configFile, `Host *\n  IdentityFile none\n  UserKnownHostsFile ${known}\n`)
    const command = commandExecutor({ log: silent })
    const remote = sshExecutor({
      command,
      addresses: hosts.addresses,
      configFile,
      perHost: 1,
      connectMs: 5000,
      log: silent,
    })
    const both = execOnHosts(command, remote)
    await both.start()
    const { signal } = new AbortController()
    const context = { run: 'r-ask', seq: 0, kind: 'exec', attempt: 1, signal, host: 'a' }
    const { stage, error } = await both.run({ input: { argv: ['true'] } }, context)
    await both.stop()
    expect([stage, error?.code]).toEqual(['start', 'UNREACHED'])
    expect(error?.message).toContain('it refused the login')
  })
})
