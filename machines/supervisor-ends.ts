/** How a supervisor comes to its end: it gives up, or is asked to stop. */
import { isAlive, withChild } from './supervisor-children.ts'
import { supervisorSetup } from './supervisor-steps.ts'

const handUp = (isHandedUp: 'atStart' | 'later') =>
  supervisorSetup.enqueueActions(({ context, event, enqueue }) => {
    if (event.type !== 'child.failed') return
    const { id, incarnation, message } = event
    enqueue.cancel(`late:${id}`)
    enqueue({ type: 'removeChild', params: { id, incarnation } })
    enqueue({ type: 'reportFailure', params: { id, message, isHandedUp } })
    enqueue.assign({
      verdict: { message: `${context.name}/${id}: ${message}`, cause: event.cause },
      children: withChild(context.children, id, () => ({
        status: 'stopped',
        doomed: false,
        lastError: message,
      })),
    })
  })

export const giveUp = handUp('later')
export const failStart = handUp('atStart')

/** Nobody is started any more, and whoever is alive is to be stopped. */
export const doomAll = supervisorSetup.enqueueActions(({ context, enqueue }) => {
  for (const { id, status } of context.children) {
    enqueue.cancel(`due:${id}`)
    if (status === 'starting') enqueue.cancel(`late:${id}`)
  }
  for (const { id, status, lastError } of context.children) {
    // Nobody will hear of it any more, and it may be why the others did not come up.
    if (status !== 'fallen' || lastError === undefined) continue
    enqueue({ type: 'reportFailure', params: { id, message: lastError } })
  }
  enqueue.assign({
    falls: [],
    children: context.children.map((child) =>
      isAlive(child)
        ? { ...child, doomed: child.status !== 'stopping' }
        : { ...child, status: 'stopped' as const },
    ),
  })
})
