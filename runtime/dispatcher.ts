/** The dispatcher of a node, as its configuration wants it. */
import { type Dispatcher, dispatcher } from '../actors/dispatcher.ts'
import type { NotAcceptingError } from '../actors/errors.ts'
import type { Kind } from '../actors/kind.ts'
import type { Paces } from '../actors/paces.ts'
import type { Throttle } from '../actors/throttle.ts'
import type { Config } from '../config/schema.ts'
import type { Shared } from './assembly.ts'
import { driverName, isDriverGone } from './driver.ts'
import type { NodeEscalation } from './escalation.ts'
import { packLimits } from './pack-limits.ts'
import { nodeRouter } from './placement.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import type { World } from './world.ts'

export interface NodeDispatcherOptions {
  id: string
  config: Config
  kinds: ReadonlyMap<string, Kind>
  listen: boolean
  world: World
  telemetry: Telemetry
  throttle: Throttle
  shared: Shared
  boot: string
  paces: Paces
  storm: NodeEscalation['storm']
  /** Why no work is taken now. */
  refusal(): NotAcceptingError | undefined
}

const runsMax = 100
/** A piece of a source waits so long for its turn before it goes to the spool. */
const patienceMs = 250

export function nodeDispatcher(options: NodeDispatcherOptions): Dispatcher {
  const { id, config, kinds, listen, world, telemetry, throttle, shared, boot } = options
  const { paces, storm, refusal } = options
  const { dispatcher: limits, mailbox } = config
  return dispatcher({
    ...shared,
    mailboxes: telemetry.timing(world.ports.mailboxes),
    node: id,
    driver: driverName(boot),
    isGone: isDriverGone,
    newRunId: (twin) => world.newRunId(twin),
    rate: limits.rate,
    burst: limits.burst,
    inFlightMax: limits.queueMax,
    depthMax: mailbox.depthMax,
    spoolMax: Math.min(limits.spoolMax, mailbox.depthMax),
    whenFull: limits.whenFull,
    runsMax,
    storm,
    throttle,
    refusal,
    patienceMs,
    resumesLeftovers: !listen,
    paces,
    pack: packLimits(config, kinds, paces),
    router: nodeRouter({ config, ports: world.ports, telemetry }),
  })
}
