/** That a cable which is pulled out carries nothing, either way, whoever's it is. */
import { afterEach, describe, expect, test } from 'bun:test'
import { eventually } from './eventually.ts'
import { type Network, namespaceProblem, startNetwork } from './namespaces.ts'

const problem = await namespaceProblem()
if (problem !== undefined) console.log(`skipped: ${problem}`)

const port = 5000
/** Says what it hears, and answers it. */
const listens = `
  const socket = await Bun.udpSocket({ hostname: '0.0.0.0', port: ${port}, socket: {
    data(socket, heard, port, address) {
      console.log(heard.toString())
      socket.send(heard, port, address)
    },
  } })
  console.log('ready')`
/** Sends each line of its input, says so, and says what it hears. */
const speaks = (address: string) => `
  const data = (_, heard) => console.log('heard ' + heard)
  const socket = await Bun.udpSocket({ socket: { data } })
  for await (const line of console) {
    socket.send(line, ${port}, '${address}')
    console.log('sent ' + line)
  }`

const children: Bun.Subprocess<'pipe', 'pipe', 'inherit'>[] = []
let network: Network | undefined
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await Promise.all(children.splice(0).map(({ exited }) => exited))
  await network?.remove()
})

function run(under: readonly string[], program: string) {
  const child = Bun.spawn([...under, process.execPath, '-e', program], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.push(child)
  const said: string[] = []
  const read = async () => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const bytes of child.stdout) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      said.push(...lines)
    }
  }
  void read()
  const say = (line: string) => {
    void child.stdin.write(`${line}\n`)
    void child.stdin.flush()
  }
  return { said, say }
}

describe('a host on a network of its own', () => {
  test.skipIf(problem !== undefined)(
    'is neither heard nor hears while it is cut off, and both again when it is healed',
    async () => {
      // All of them: of some one the hub has the hardware address.
      const names = ['a', 'b', 'c', 'd', 'e']
      const net = await startNetwork(names)
      network = net
      const hub = run(net.hub.under, listens)
      await eventually(() => expect(hub.said).toEqual(['ready']))
      const hosts = names.map((name) => ({
        name,
        ...run(net.host(name).under, speaks(net.hub.address)),
      }))
      const say = async (word: string, isHeard: boolean) => {
        for (const host of hosts) host.say(`${host.name} ${word}`)
        await eventually(() => {
          for (const { name, said } of hosts) {
            expect(said).toContain(`sent ${name} ${word}`)
            if (isHeard) expect(said).toContain(`heard ${name} ${word}`)
          }
        })
      }
      await say('before', true)
      for (const name of names) await net.cut(name)
      await say('cut off', false)
      for (const name of names) await net.heal(name)
      await say('healed', true)
      expect(hub.said.filter((line) => line.endsWith('cut off'))).toEqual([])
      expect(hub.said.filter((line) => line.endsWith('healed')).length).toBe(names.length)
    },
    30_000,
  )
})
