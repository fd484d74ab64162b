/** Files of tasks: TypeScript modules of users that define kinds, and singletons. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import * as zod from 'zod'
import { defineBridge } from '../actors/bridge.ts'
import {
  describeError,
  FencedError,
  MusterError,
  NotFoundError,
  TerminalError,
  UsageError,
} from '../actors/errors.ts'
import { defineTask, isTaskDefinition, type TaskDefinition } from '../actors/kind.ts'
import { defineSingleton } from '../actors/singleton.ts'
import { isSingletonDefinition, type SingletonDefinition } from '../actors/singleton-work.ts'
import {
  defineSubscription,
  isSubscriptionDefinition,
  type SubscriptionDefinition,
} from '../actors/subscription-work.ts'

export interface TasksFile {
  tasks: TaskDefinition[]
  singletons: SingletonDefinition[]
  /** Bridges among them. */
  subscriptions: SubscriptionDefinition[]
}

const files = new WeakMap<TaskDefinition, string>()

/** The file a definition was read from; undefined for one that was made otherwise. */
export function fileOfTask(definition: TaskDefinition): string | undefined {
  return files.get(definition)
}

/**
 * The definitions of a TypeScript module: a default export, an array of them, or named exports.
 * @throws NotFoundError when there is no such file, UsageError when it defines nothing
 */
export async function readTasksFile(file: string): Promise<TasksFile> {
  const path = resolve(file)
  if (!(await Bun.file(path).exists())) {
    throw new NotFoundError(`there is no task file ${file}`)
  }
  provideLibrary(dirname(path))
  let module: Record<string, unknown>
  try {
    module = (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (error) {
    throw new UsageError(`the task file ${file} cannot be loaded: ${loadProblem(error)}`)
  }
  const exported = [...new Set(Object.values(module).flat())]
  const tasks = exported.filter(isTaskDefinition)
  for (const task of tasks) files.set(task, path)
  const singletons = exported.filter(isSingletonDefinition)
  const subscriptions = exported.filter(isSubscriptionDefinition)
  if (tasks.length + singletons.length + subscriptions.length === 0) {
    throw new UsageError(
      `the task file ${file} defines no task: export defineTask({ kind, input, run }) from it`,
    )
  }
  return { tasks, singletons, subscriptions }
}

/** Of several errors the first, with its place where Bun tells it. */
function loadProblem(error: unknown): string {
  const first: unknown = error instanceof AggregateError ? (error.errors[0] ?? error) : error
  if (!(first instanceof BuildMessage) || first.position === null) {
    return describeError(first).message
  }
  const { file, line, column } = first.position
  return `${file}:${line}:${column}: ${first.message}`
}

/**
 * A task file outside any package may import 'muster' and 'zod' all the same: where they cannot be
 * found from its folder, they are those of this program.
 */
function provideLibrary(folder: string): void {
  const modules = {
    muster: {
      defineBridge,
      defineSingleton,
      defineSubscription,
      defineTask,
      FencedError,
      MusterError,
      TerminalError,
    },
    zod: { ...zod, default: zod.z },
  }
  for (const [name, exports] of Object.entries(modules)) {
    if (isFound(name, folder)) continue
    Bun.plugin({
      name,
      setup(build) {
        build.module(name, () => ({ exports, loader: 'object' }))
      },
    })
  }
}

/** By looking, for Bun's own resolver downloads what it does not find. */
function isFound(name: string, folder: string): boolean {
  const isIn = existsSync(join(folder, 'node_modules', name)) || isPackage(name, folder)
  const above = dirname(folder)
  return isIn || (above !== folder && isFound(name, above))
}

/** A package may import itself by its name. */
function isPackage(name: string, folder: string): boolean {
  try {
    const text = readFileSync(join(folder, 'package.json'), 'utf8')
    return (JSON.parse(text) as { name?: unknown }).name === name
  } catch {
    // No package begins here, or one that nobody can import.
    return false
  }
}
