/** Where tasks go that do not go anywhere, as the configuration of a node wants it. */
import { type Hosts, Router } from '../actors/router.ts'
import type { Config } from '../config/schema.ts'
import { systemClock } from './clock.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { Ports } from './world.ts'

export interface NodeRouterOptions {
  config: Config
  ports: Pick<Ports, 'members' | 'admission'>
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
    meter: telemetry,
  })
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
