/** `muster tree`: the actors of a node, each with its state. */
import type { TreeNode } from '../../actors/tree.ts'
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

function linesOf(node: TreeNode, terminal: Terminal, indent = '', branch = ''): string[] {
  const { out } = terminal
  const restarts = node.restarts === 0 ? '' : `  ${out.yellow(`restarted ${node.restarts} times`)}`
  const error = node.lastError === undefined ? '' : `  ${out.red(printable(node.lastError))}`
  const pid = branch === '' ? `  pid ${node.pid}` : ''
  const lines = [`${indent}${branch}${node.id}  ${out.dim(node.state)}${pid}${restarts}${error}`]
  const below = branch === '' ? '' : `${indent}${branch === '└ ' ? '  ' : '│ '}`
  node.children.forEach((child, index) => {
    const isLast = index === node.children.length - 1
    lines.push(...linesOf(child, terminal, below, isLast ? '└ ' : '├ '))
  })
  return lines
}
