/**
 * The public library.
 *
 *     import { createNode, connect, defineTask } from 'muster'
 */
import type { TaskDefinition } from '../actors/kind.ts'
import type { SingletonDefinition } from '../actors/singleton-work.ts'
import { loadConfig } from '../config/load.ts'
import type { configSchema } from '../config/schema.ts'
import { createNode as assembleNode, type MusterNode } from './node.ts'

export { FencedError, MusterError, TerminalError } from '../actors/errors.ts'
export { defineTask, type TaskContext, type TaskDefinition } from '../actors/kind.ts'
export type { Fence } from '../actors/ports-fleet.ts'
export type { Run } from '../actors/ports-runs.ts'
export type { ResultLine } from '../actors/result.ts'
export { defineSingleton } from '../actors/singleton.ts'
export type { SingletonContext, SingletonDefinition } from '../actors/singleton-work.ts'
export { connect, type TaskLine } from './client.ts'
export type { Muster, RunHandle } from './client-api.ts'
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
  const { dataDir, ephemeral, tasks, singletons, tasksFiles, listen, ...sections } = options
  const { config } = loadConfig({ fileValues: sections, fileName: 'createNode', env: {} })
  return assembleNode({
    config,
    dataDir: dataDir ?? '.muster',
    listen: listen ?? true,
    ...(ephemeral === undefined ? {} : { ephemeral }),
    ...(tasks === undefined ? {} : { tasks }),
    ...(singletons === undefined ? {} : { singletons }),
    ...(tasksFiles === undefined ? {} : { tasksFiles }),
  })
}
