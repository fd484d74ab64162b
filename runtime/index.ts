/**
 * The public library.
 *
 *     import { createNode, connect, defineTask } from 'muster'
 */
import type { TaskDefinition } from '../actors/kind.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import type { SubscriptionDefinition } from '../actors/subscription-work.ts'
import { loadConfig } from '../config/load.ts'
import type { configSchema } from '../config/schema.ts'
import { createNode as assembleNode, type MusterNode } from './node.ts'

export { type BridgeDefinition, defineBridge } from '../actors/bridge.ts'
export {
  ConflictError,
  FencedError,
  MusterError,
  NotAcceptingError,
  NotFoundError,
  TerminalError,
  TokenError,
  UnavailableError,
  UsageError,
} from '../actors/errors.ts'
export type { EscalationLine } from '../actors/escalation-list.ts'
export { defineTask, type Profile, type TaskContext, type TaskDefinition } from '../actors/kind.ts'
export type { NodeLine } from '../actors/membership.ts'
export type { Attempt } from '../actors/ports.ts'
export type { Fence, LeaseRecord } from '../actors/ports-fleet.ts'
export type { HaltPolicy, Run, RunAction, RunState, Share } from '../actors/ports-runs.ts'
export type { SystemEntry } from '../actors/ports-system.ts'
export type { DurableGroup } from '../actors/ports-topics.ts'
export type { EndpointLine } from '../actors/prober.ts'
export type { Publish, Published, PublishOptions } from '../actors/publisher.ts'
export type { ResultLine } from '../actors/result.ts'
export { secret } from '../actors/secret.ts'
export { defineSingleton } from '../actors/singleton.ts'
export type { SingletonContext, SingletonDefinition } from '../actors/singleton-work.ts'
export {
  defineSubscription,
  type ReceivedMessage,
  type SubscriptionContext,
  type SubscriptionDefinition,
} from '../actors/subscription-work.ts'
export type { SystemView } from '../actors/system-record.ts'
export type { Rejection } from '../actors/task.ts'
export type { TreeNode } from '../actors/tree.ts'
export type { Counts, Outcome } from '../machines/outcome.ts'
export type { SystemState } from '../machines/system-rules.ts'
export {
  type ConnectOptions,
  connect,
  type TaskLine,
  type TaskSource,
} from './client.ts'
export type {
  Intake,
  Muster,
  ResultsQuery,
  RunEvent,
  RunHandle,
  RunPage,
  SubmitOptions,
  TaskReport,
} from './client-api.ts'
export type { DeadLetterCalls, LetterLine, LettersQuery, Redriven } from './client-letters.ts'
export type { SystemAnswer, SystemCalls } from './client-system.ts'
export type { GatheredPart, GatheredSet, GatheringHandle, GatherOptions } from './gathering.ts'
export type { MusterNode } from './node.ts'

/** The sections of the configuration file, none of them needed, and what is no setting. */
export type CreateNodeOptions = (typeof configSchema)['_input'] & {
  /** Default: `./.muster`. */
  dataDir?: string
  /** Everything in memory, nothing durable. */
  ephemeral?: boolean
  tasks?: readonly TaskDefinition[]
  /** Work that is done by one node of all. */
  singletons?: readonly SingletonDefinition[]
  /** Subscriptions to topics, and bridges between them. */
  subscriptions?: readonly SubscriptionDefinition[]
  /** TypeScript modules that define tasks. */
  tasksFiles?: readonly string[]
  /** Open the port (`http.host`, `http.port`); true by default. */
  listen?: boolean
}

/**
 * A node in this process. Nothing is read from the environment.
 * @throws ConfigError with every problem of the settings at once
 */
export async function createNode(options: CreateNodeOptions = {}): Promise<MusterNode> {
  const { dataDir, ephemeral, tasks, singletons, subscriptions, tasksFiles, listen, ...sections } =
    options
  const { config } = loadConfig({ fileValues: sections, fileName: 'createNode', env: {} })
  return assembleNode({
    config,
    dataDir: dataDir ?? '.muster',
    listen: listen ?? true,
    ...(ephemeral === undefined ? {} : { ephemeral }),
    ...(tasks === undefined ? {} : { tasks }),
    ...(singletons === undefined ? {} : { singletons }),
    ...(subscriptions === undefined ? {} : { subscriptions }),
    ...(tasksFiles === undefined ? {} : { tasksFiles }),
  })
}
