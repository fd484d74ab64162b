/** What a task says of where it is to run, and cannot mean. */
import type { Rejection, Task } from '../actors/task.ts'
import { describeValue } from './rejection.ts'

type Problem = Omit<Rejection, 'line'>

/** What is wrong with it, in itself: which nodes there are is not asked here. */
export function placeProblem(task: Task): Problem | undefined {
  const { placement = 'any', target, select, key, dedupeKey } = task
  if (target !== undefined) return targetProblem(task)
  if (placement === 'sharded') {
    if (key === undefined) {
      return {
        path: 'key',
        message: 'expected a key beside placement "sharded", which shares out by it, got nothing',
      }
    }
    if (select === undefined) return undefined
    const message = 'expected no labels beside placement "sharded": any node may have a shard'
    return { path: 'select', message: `${message}, got ${describeValue(select)}` }
  }
  if (placement === 'any' && select === undefined) return undefined
  if (key !== undefined) {
    const where = placement === 'any' ? 'select' : `placement "${placement}"`
    const advice = 'tasks of one key keep their order in one place: use "sharded", or a target'
    return { path: 'key', message: `expected no key beside ${where} (${advice}), got "${key}"` }
  }
  if (placement === 'all' && dedupeKey !== undefined) {
    const message = 'expected none beside placement "all", which is several tasks'
    return { path: 'dedupeKey', message: `${message}, got "${dedupeKey}"` }
  }
  return undefined
}

function targetProblem({ target, placement = 'any', select }: Task): Problem | undefined {
  if (placement !== 'any') {
    const message = `expected "any" beside a target, which is a place already, got "${placement}"`
    return { path: 'placement', message }
  }
  if (select !== undefined) {
    const message = 'expected none beside a target, which is a place already'
    return { path: 'select', message: `${message}, got ${describeValue(select)}` }
  }
  const name = target ?? ''
  if (isTarget(name)) return undefined
  const message =
    'expected the name of a node or a host, or a label of nodes as in "rack=r1", got ' +
    describeValue(target)
  return { path: 'target', message }
}

/** Of a node, or a host, which may have a user before it. */
const namePattern = /^[A-Za-z0-9_][A-Za-z0-9._@:%-]{0,252}$/
const labelPattern = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=[^\p{Cc}\p{Cs}]{0,200}$/u

function isTarget(name: string): boolean {
  return namePattern.test(name) || labelPattern.test(name)
}
