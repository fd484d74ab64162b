/** The topics port in memory: the twin of runtime/redis/topics.ts. */
import { describeError } from '../../actors/errors.ts'
import type { Log } from '../../actors/ports.ts'
import {
  type DurableGroup,
  softBacklog,
  type TopicListener,
  type TopicMessage,
  type Topics,
} from '../../actors/ports-topics.ts'
import { matches } from '../../machines/topic.ts'

interface Ear {
  boot: string
  pattern: string
  listener: TopicListener
  /** As JSON: nobody holds what others get. */
  backlog: string[]
  dropped: number
}

export function memoryTopics({ log }: { log: Log }): Topics {
  const ears = new Set<Ear>()
  const groups = new Map<string, DurableGroup>()

  const drain = (ear: Ear) => {
    for (const text of ear.backlog.splice(0)) {
      if (!ears.has(ear)) return
      try {
        ear.listener(JSON.parse(text) as TopicMessage)
      } catch (error) {
        log.warn({ pattern: ear.pattern, ...describeError(error) }, 'a listener failed')
      }
    }
    if (ear.dropped === 0) return
    const { pattern, dropped } = ear
    log.warn({ pattern, dropped }, 'a listener is behind: the oldest messages were dropped')
    ear.dropped = 0
  }

  return {
    async tell(message) {
      const text = JSON.stringify(message)
      const wanted = [...ears].filter(({ pattern }) => matches(pattern, message.topic))
      for (const ear of wanted) {
        if (ear.backlog.length === 0) setImmediate(drain, ear)
        else if (ear.backlog.length >= softBacklog) {
          ear.backlog.shift()
          ear.dropped += 1
        }
        ear.backlog.push(text)
      }
      return wanted.length
    },

    async listen(boot, pattern, listener) {
      const ear = { boot, pattern, listener, backlog: [], dropped: 0 }
      ears.add(ear)
      return async () => {
        ears.delete(ear)
      }
    },

    async forget(boot) {
      const gone = [...ears].filter((ear) => ear.boot === boot)
      for (const ear of gone) ears.delete(ear)
      return gone.length > 0
    },

    async declare({ group, pattern }) {
      groups.set(`${group} ${pattern}`, { group, pattern })
    },

    withdraw: async ({ group, pattern }) => groups.delete(`${group} ${pattern}`),

    groups: async () =>
      [...groups.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group),

    async close() {
      ears.clear()
    },
  }
}
