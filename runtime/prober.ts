/** The singleton that probes hosts of the inventory, and what is shown of them. */

import type { Log } from '../actors/ports.ts'
import type { Leases } from '../actors/ports-fleet.ts'
import {
  type EndpointLine,
  endpointLines,
  endpointsKey,
  probeEndpoints,
  proberName,
} from '../actors/prober.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import type { Config } from '../config/schema.ts'
import { systemClock } from './clock.ts'
import { httpProbes } from './execute/http/probes.ts'

/** None, where no host is to be probed. */
export function proberSingletons(config: Config, log: Log): SingletonDefinition[] {
  const { hosts, member, worker } = config
  const endpoints = Object.entries(hosts).flatMap(([name, { probe }]) =>
    probe === undefined ? [] : [{ name, url: probe }],
  )
  if (endpoints.length === 0) return []
  const policy = {
    intervalMs: member.probeMs,
    failuresMax: member.probeFailures,
    cooldownMs: member.probeCooldownMs,
  }
  return [
    {
      name: proberName,
      async start({ fence, signal }) {
        const { httpLinkLocal: linkLocal, httpCaFile: caFile } = worker
        const probes = await httpProbes({ linkLocal, caFile })
        const { probeTimeoutMs: timeoutMs, probeConcurrency: concurrency } = member
        const asking = { endpoints, probes, policy, timeoutMs, concurrency }
        const time = { clock: systemClock, random: Math.random }
        const work = async () => {
          try {
            await probeEndpoints({ ...asking, ...time, log }, fence, signal)
          } finally {
            await probes.close()
          }
        }
        return { ended: work() }
      },
    },
  ]
}

/** What the one that probes has found, whichever node that is. */
export async function endpointsOf(leases: Pick<Leases, 'get'>): Promise<EndpointLine[]> {
  return endpointLines(await leases.get(proberName, endpointsKey), systemClock.now())
}
