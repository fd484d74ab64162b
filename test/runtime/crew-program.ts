/** A process whose commands run in threads; each writes the pid of who left its group to a file. */
import { commandCrew } from '../../runtime/execute/crew/crew.ts'
import { contextOf, sh, silent } from './command-runner.ts'

const crew = commandCrew({ threads: 2, commandsBefore: 2, log: silent })
await crew.start()
const inThread = async () => {
  const { output } = await crew.run({ input: { argv: ['cat', '/proc/self/cgroup'] } }, contextOf())
  return /\/t\d+\.\d+$/m.test(JSON.stringify(output).replaceAll('\\n', '\n'))
}
while (!(await inThread())) continue
const script = 'setsid sleep 60 & echo $! > "$1"; wait'
await Promise.all(
  process.argv
    .slice(2)
    .map(async (path) => crew.run({ input: { argv: sh(script, path) } }, contextOf())),
)
