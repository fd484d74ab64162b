/**
 * Sets of host names in short: `web[001-040],db1` are forty-one of them. Numbers keep the width in
 * which they are written, and brackets may stand anywhere in a name, more than once.
 */

/** More than this in one set is a slip of the pen. */
export const nodesetMax = 100_000

export type Nodeset = { hosts: string[] } | { problem: string }

interface Piece {
  /** The texts that may stand here. */
  choices: string[]
}

/** The names in a set, each once, in the order in which they are written; or what is wrong. */
export function expandNodeset(text: string): Nodeset {
  const hosts = new Set<string>()
  for (const part of partsOf(text)) {
    if (part === '') return { problem: 'expected a name between two commas, got nothing' }
    const pieces = piecesOf(part)
    if ('problem' in pieces) return pieces
    const count = pieces.pieces.reduce((product, { choices }) => product * choices.length, 1)
    if (hosts.size + count > nodesetMax) {
      return { problem: `expected at most ${nodesetMax} names, got more: ${shown(part)}` }
    }
    let names = ['']
    for (const { choices } of pieces.pieces) {
      names = names.flatMap((name) => choices.map((choice) => name + choice))
    }
    for (const name of names) hosts.add(name)
  }
  return { hosts: [...hosts] }
}

/** At the commas that are in no brackets. */
function partsOf(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '[') depth += 1
    else if (text[at] === ']') depth = Math.max(0, depth - 1)
    else if (text[at] === ',' && depth === 0) {
      parts.push(text.slice(start, at).trim())
      start = at + 1
    }
  }
  return [...parts, text.slice(start).trim()]
}

const plain = /^[^\s[\]]*$/

function piecesOf(part: string): { pieces: Piece[] } | { problem: string } {
  const pieces: Piece[] = []
  let rest = part
  while (rest !== '') {
    const open = rest.indexOf('[')
    const before = open < 0 ? rest : rest.slice(0, open)
    if (!plain.test(before)) {
      return { problem: `expected a name without blanks and stray brackets, got ${shown(part)}` }
    }
    if (before !== '') pieces.push({ choices: [before] })
    if (open < 0) break
    const close = rest.indexOf(']', open)
    if (close < 0) return { problem: `expected a "]" for each "[", got ${shown(part)}` }
    const choices = numbersOf(rest.slice(open + 1, close))
    if ('problem' in choices) return { problem: `${choices.problem} in ${shown(part)}` }
    pieces.push(choices)
    rest = rest.slice(close + 1)
  }
  return { pieces }
}

const range = /^(\d{1,15})(?:-(\d{1,15}))?$/

function numbersOf(text: string): Piece | { problem: string } {
  const choices: string[] = []
  for (const word of text.split(',')) {
    const [, first, last = first] = range.exec(word.trim()) ?? []
    if (first === undefined || last === undefined) {
      return { problem: `expected numbers and ranges as in [1-3,7], got [${text.slice(0, 40)}]` }
    }
    const [from, to] = [Number(first), Number(last)]
    if (to < from) return { problem: `expected a range that goes up, got ${word.trim()}` }
    if (choices.length + to - from >= nodesetMax) {
      return { problem: `expected at most ${nodesetMax} names, got more` }
    }
    for (let number = from; number <= to; number += 1) {
      choices.push(String(number).padStart(first.length, '0'))
    }
  }
  return { choices }
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
