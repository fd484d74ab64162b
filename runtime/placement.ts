/** Where tasks go that do not go anywhere, as the configuration of a node wants it. */
import { type Hosts, Router, type RouterOptions } from '../actors/router.ts'
import type { Config } from '../config/schema.ts'
import { systemClock } from './clock.ts'
import { endpointsOf } from './prober.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { Ports } from './world.ts'

export interface NodeRouterOptions {
  config: Config
  ports: Pick<Ports, 'members' | 'admission' | 'leases'>
  telemetry: Pick<Telemetry, 'routed'>
}

export function nodeRouter({ config, ports, telemetry }: NodeRouterOptions): Router {
  const { dispatcher, mailbox, member } = config
  return new Router({
    ...ports,
    clock: systemClock,
    random: Math.random,
    strategy: dispatcher.balancer,
    staleMs: member.staleMs,
    depthMax: mailbox.depthMax,
    keyPartitions: mailbox.keyPartitions,
    hosts: hostsOf(config),
    ...offlineOf(config, ports),
    meter: telemetry,
  })
}

/** What the prober has found is this old at most, ms. */
const endpointsViewMs = 1000

/** A node that has the name of a host that is probed goes by what the prober says of it as well. */
function offlineOf(
  { hosts }: Config,
  { leases }: NodeRouterOptions['ports'],
): Pick<RouterOptions, 'offline'> {
  if (Object.values(hosts).every(({ probe }) => probe === undefined)) return {}
  let known: { at: number; names: Promise<ReadonlySet<string>> } | undefined
  const look = async () => {
    const lines = await endpointsOf(leases)
    return new Set(lines.filter(({ isUsable }) => !isUsable).map(({ name }) => name))
  }
  return {
    offline() {
      const now = systemClock.monotonic()
      if (known === undefined || now - known.at > endpointsViewMs) {
        known = { at: now, names: look() }
        known.names.catch(() => {
          known = undefined
        })
      }
      return known.names
    },
  }
}

/** What can be reached over ssh: a name as ssh takes it, with a user or without. */
const hostName = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}@)?[A-Za-z0-9_][A-Za-z0-9._:%-]{0,252}$/

/** The kinds that can be done on a host that runs no node. */
const remoteKinds = new Set(['exec'])

function hostsOf({ hosts, worker }: Config): Hosts {
  const inventory = new Map(Object.entries(hosts).map(([name, { labels }]) => [name, labels]))
  return {
    inventory,
    isAdHoc: (name) => worker.sshHosts === 'any' && hostName.test(name),
    reaches: (kind) => remoteKinds.has(kind),
  }
}
