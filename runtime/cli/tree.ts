/** `muster tree`: the actors of a node, each with its state. */
import type { TreeNode } from '../../actors/tree.ts'
import { elapsed } from './elapsed.ts'
import { exitCodes } from './exit.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { printable } from './report.ts'
import type { Terminal } from './terminal.ts'

export async function tree(invocation: Invocation): Promise<number> {
  const { terminal } = invocation
  const { muster } = await locate(invocation)
  const root = await muster.tree()
  const text = terminal.json ? JSON.stringify(root) : linesOf(root, terminal).join('\n')
  await terminal.print(`${text}\n`)
  return exitCodes.ok
}

/** Where a node stands: what is drawn before it, and the process that it is told to be in. */
interface Place {
  indent: string
  branch: string
  pid?: number
}

const atRoot: Place = { indent: '', branch: '' }

function linesOf(node: TreeNode, terminal: Terminal, place: Place = atRoot): string[] {
  const { indent, branch, pid } = place
  const lines = [`${indent}${branch}${wordsOf(node, pid, terminal.out).join('  ')}`]
  const below = branch === '' ? '' : `${indent}${branch === '└ ' ? '  ' : '│ '}`
  node.children.forEach((child, index) => {
    const isLast = index === node.children.length - 1
    const at: Place = { indent: below, branch: isLast ? '└ ' : '├ ', pid: node.pid }
    lines.push(...linesOf(child, terminal, at))
  })
  return lines
}

/** A worker process speaks once a second; after so long what is shown of it may be otherwise. */
const staleMs = 2000

/** @param parentPid told once for all actors of a process */
function wordsOf(node: TreeNode, parentPid: number | undefined, out: Terminal['out']): string[] {
  const { id, state, pid, incarnation, restarts, oldestMessageMs, heardMs = 0, lastError } = node
  const often = restarts === 1 ? 'once' : `${restarts} times`
  return [
    incarnation > 1 ? `${id} #${incarnation}` : id,
    out.dim(state),
    ...(pid === parentPid ? [] : [`pid ${pid}`]),
    ...(restarts === 0 ? [] : [out.yellow(`restarted ${often}`)]),
    ...(heardMs < staleMs ? [] : [out.yellow(`heard ${elapsed(heardMs)} ago`)]),
    ...(oldestMessageMs === undefined ? [] : [`oldest message ${elapsed(oldestMessageMs)}`]),
    ...(lastError === undefined ? [] : [out.red(printable(lastError).replaceAll('\n', ' '))]),
  ]
}
