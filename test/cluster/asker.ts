/**
 * Asks a URL whose name stands for the addresses that follow it, and prints how that ended as one
 * line of JSON: to be run on a host of its own, see http-connect.test.ts.
 */
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
const { outcome, error, output } = await executor.run({ input: { url } }, contextOf())
await executor.stop()
console.log(JSON.stringify({ outcome, error, output }))
