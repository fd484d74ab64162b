/**
 * Hosts of their own on one Linux: network namespaces on a bridge, whose cables can be pulled out.
 * Nothing of it is in the network of this machine, and only root can do it.
 */
const subnet = '10.77.0'
/** States of a port of a bridge. */
const [disabled, forwarding] = ['0', '3']
let count = 0
const made = new Set<string>()
process.on('exit', () => {
  for (const name of made) Bun.spawnSync(['ip', 'netns', 'delete', name])
})

export interface NetworkHost {
  /** Words before a program that is to run there. */
  readonly under: readonly string[]
  readonly address: string
}

export interface Network {
  /** Where the cables of all others end. */
  readonly hub: NetworkHost
  host(name: string): NetworkHost
  /** Nothing passes, either way, and nobody is told. */
  cut(name: string): Promise<void>
  heal(name: string): Promise<void>
  /** Takes everything away; who runs there is to have ended. Safe to call twice. */
  remove(): Promise<void>
}

/** Why there can be no such hosts here, if so. */
export async function namespaceProblem(): Promise<string | undefined> {
  if (process.platform !== 'linux')
    return `network namespaces are of Linux, not ${process.platform}`
  for (const program of ['ip', 'bridge']) {
    if (Bun.which(program) !== null) continue
    return `there is no program ${program} (Debian: apt-get install iproute2)`
  }
  try {
    await (await startNetwork(['probe'])).remove()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** @throws Error with what `ip` said; nothing is left then */
export async function startNetwork(names: readonly string[]): Promise<Network> {
  count += 1
  const prefix = `muster-${process.pid}-${count}`
  const hub = `${prefix}-hub`
  const numbers = new Map(names.map((name, index) => [name, index + 2]))
  const added: string[] = []

  const numberOf = (name: string): number => {
    const number = numbers.get(name)
    if (number === undefined) throw new Error(`there is no host ${name}`)
    return number
  }
  const add = async (namespace: string): Promise<void> => {
    await ip('netns', 'add', namespace)
    added.push(namespace)
    made.add(namespace)
    await ip('-n', namespace, 'link', 'set', 'lo', 'up')
  }
  const build = async (): Promise<void> => {
    await add(hub)
    await ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge')
    await ip('-n', hub, 'address', 'add', `${subnet}.1/24`, 'dev', 'bridge')
    await ip('-n', hub, 'link', 'set', 'bridge', 'up')
    for (const [name, number] of numbers) {
      const namespace = `${prefix}-${name}`
      const port = `port${number}`
      await add(namespace)
      const peer = ['peer', 'name', 'cable', 'netns', namespace]
      await ip('-n', hub, 'link', 'add', port, 'type', 'veth', ...peer)
      await ip('-n', hub, 'link', 'set', port, 'master', 'bridge', 'up')
      await ip('-n', namespace, 'address', 'add', `${subnet}.${number}/24`, 'dev', 'cable')
      await ip('-n', namespace, 'link', 'set', 'cable', 'up')
    }
  }
  const remove = async (): Promise<void> => {
    for (const namespace of added.splice(0)) {
      await ip('netns', 'delete', namespace)
      made.delete(namespace)
    }
  }
  const setPort = (name: string, state: string): Promise<void> => {
    return call('bridge', '-n', hub, 'link', 'set', 'dev', `port${numberOf(name)}`, 'state', state)
  }
  const hostOf = (namespace: string, number: number): NetworkHost => ({
    under: ['ip', 'netns', 'exec', namespace],
    address: `${subnet}.${number}`,
  })

  try {
    await build()
  } catch (error) {
    await remove()
    throw error
  }
  return {
    hub: hostOf(hub, 1),
    host: (name) => hostOf(`${prefix}-${name}`, numberOf(name)),
    // Taken out of the bridge, a port would still be heard by the hub itself, whose hardware
    // address may be that of the port.
    cut: (name) => setPort(name, disabled),
    heal: (name) => setPort(name, forwarding),
    remove,
  }
}

function ip(...words: string[]): Promise<void> {
  return call('ip', ...words)
}

async function call(...words: string[]): Promise<void> {
  const child = Bun.spawn(words, { stdio: ['ignore', 'ignore', 'pipe'] })
  const [code, said] = await Promise.all([child.exited, new Response(child.stderr).text()])
  if (code !== 0) throw new Error(`${words.join(' ')}: ${said.trim() || `exit code ${code}`}`)
}
