/**
 * Asks a URL whose name stands for the addresses that follow it, and prints how that ended as one
 * line of JSON: to be run on a host of its own, see http-connect.test.ts.
 */
import { readdirSync, readlinkSync } from 'node:fs'
import { httpExecutor } from '../../runtime/execute/http/request.ts'
import { contextOf } from '../runtime/command-runner.ts'

const [url = '', ...addresses] = process.argv.slice(2)
const executor = httpExecutor({
  timeoutMs: 20_000,
  bytesMax: 65_536,
  linkLocal: 'refuse',
  phaseMs: { connect: 300 },
  lookup: () => Promise.resolve(addresses.map((address) => ({ address }))),
})
await executor.start()
const before = sockets()
const { outcome, error, output } = await executor.run({ input: { url } }, contextOf())
await turn()
const kept = sockets() - before
await executor.stop()
console.log(JSON.stringify({ outcome, error, output, kept }))

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function sockets(): number {
  return readdirSync('/proc/self/fd').filter(isSocket).length
}

function isSocket(descriptor: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith('socket:')
  } catch {
    // That of the directory that is just read.
    return false
  }
}
