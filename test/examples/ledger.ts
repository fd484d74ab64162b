import { defineSingleton } from 'muster'

export default defineSingleton({
  name: 'ledger',
  async start({ epoch, fence, submit, log }) {
    log.info({ epoch }, 'this node leads')
    await fence.put('led-by', String(process.pid)) // refused by Redis once somebody else leads
    await submit([{ kind: 'noop' }]) // its tasks are refused by workers then, too
  },
})
