import { connect } from 'muster'

/** Tasks as they come: the node takes no more of them than it has room for. */
async function* pings() {
  for (let host = 1; host <= 100; host += 1) {
    yield { kind: 'exec', id: `host-${host}`, input: { argv: ['echo', `host ${host}`] } }
  }
}

const muster = await connect({ url: process.env['MUSTER_URL'] ?? 'http://127.0.0.1:7070' })
const run = await muster.submit(pings(), { reason: 'an example', window: { tasks: 20 } })

for await (const { type, run: now } of run.events()) {
  console.log(type, `${now.total - now.counts.pending} of ${now.total}`)
}
for await (const { id, error } of muster.results(run.id, { outcomes: ['failed', 'timeout'] })) {
  console.log(id, error?.message)
}
const { state, counts } = await run.done()
console.log(run.id, state, `${counts.ok} ok`)
