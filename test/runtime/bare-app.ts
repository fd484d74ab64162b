/** All routes of a node, without the node: nobody asks what is behind those that throw. */
import type { DeadLetters } from '../../actors/dead-letters.ts'
import { type AppOptions, httpApp } from '../../runtime/http/app.ts'
import { RunFeed } from '../../runtime/http/feed.ts'
import { AddressRate } from '../../runtime/http/rate.ts'
import { Sessions } from '../../runtime/http/sessions.ts'
import { Telemetry } from '../../runtime/telemetry/telemetry.ts'
import type { memoryWorld } from '../actors/world.ts'

const unasked = (): never => {
  throw new Error('nobody asked for it')
}

export function bareApp(
  world: ReturnType<typeof memoryWorld>,
  letters: Pick<DeadLetters, 'list'>,
  more: Partial<AppOptions> = {},
): ReturnType<typeof httpApp> {
  return httpApp({
    ...world,
    dispatcher: undefined,
    feed: new RunFeed(world.accounting, world.clock),
    kinds: new Map(),
    elsewhere: async () => undefined,
    lingerMs: 0,
    streamSilenceMs: 1000,
    tree: unasked,
    deadLetters: {
      local: () => letters.list(),
      redriving: () => ({ ...world, dispatcher: undefined }),
    },
    unready: () => [],
    nodes: {
      list: async () => [],
      endpoints: async () => [],
      ask: async () => false,
      id: 'a',
      boot: 'a1',
      drain: () => undefined,
      isDraining: () => false,
    },
    leases: () => world.leases,
    ...more,
  })
}

/** What a node on a port has besides. */
export function everything(): Partial<AppOptions> {
  const now = () => 0
  return {
    access: {
      tokens: [],
      sessions: new Sessions(now),
      guesses: new AddressRate({ perSecond: 1, burst: 1, now }),
    },
    metrics: { text: unasked },
    escalations: unasked,
    system: {
      system: {
        get view(): never {
          return unasked()
        },
        ask: unasked,
      },
      history: unasked,
    },
    telemetry: new Telemetry(),
  }
}
