import { defineBridge, defineSubscription } from 'muster'
import { z } from 'zod'

const reading = z.object({ host: z.string(), celsius: z.number() })

/** Readings of any host that are too hot become alarms; the others become nothing. */
export const tooHot = defineBridge({
  name: 'too-hot',
  from: 'readings.*',
  to: 'alarms.heat',
  parse: reading.parse,
  transform: ({ host, celsius }) => (celsius > 80 ? [{ host, celsius }] : []),
})

/** Shared by all nodes: each alarm is handled at least once, and known again by its id. */
export const pager = defineSubscription({
  name: 'pager',
  group: 'pager',
  pattern: 'alarms.>',
  handle({ id, topic, data }, { log }) {
    log.warn({ id, topic, data }, 'somebody is to look at this')
  },
})

/** On every node, at most once: for what is of no use later. */
export const tuning = defineSubscription({
  name: 'tuning',
  pattern: 'control.>',
  handle({ data }, { log }) {
    log.info({ data }, 'a setting has changed')
  },
})
