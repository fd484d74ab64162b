import { connect } from 'muster'

const muster = await connect({ url: process.env['MUSTER_URL'] ?? 'http://127.0.0.1:7070' })
const input = { argv: ['uname', '-r'] }
const gathering = await muster.gather([{ kind: 'exec', input, placement: 'all' }], {
  timeoutMs: 20_000,
})
for await (const part of gathering) {
  if (part.type === 'result')
    console.log(part.source, part.result.outcome) // as they arrive
  else console.log(part.status, part.missing) // complete, or partial and who has not answered
}
