import { connect, createNode, defineTask } from 'muster'
import { z } from 'zod'

const greet = defineTask({
  kind: 'greet',
  input: z.object({ name: z.string() }),
  async run({ name }) {
    return `hello ${name}`
  },
})

const node = await createNode({ tasks: [greet], http: { port: 0 } })
await node.start()

const muster = await connect({ url: node.url ?? '' })
const run = await muster.submit([
  { kind: 'greet', input: { name: 'Ada' } },
  { kind: 'exec', input: { argv: ['uname', '-s'] } },
])
for await (const result of run.results()) console.log(result.kind, result.outcome, result.output)

await node.stop()
