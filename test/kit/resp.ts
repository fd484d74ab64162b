/** The protocol of Redis, as far as it takes to tell where one value ends and the next begins. */

/** Cuts a stream into whole values. */
export class Values {
  #rest: Buffer = Buffer.alloc(0)

  /** The values that are whole now, each with all its bytes. */
  take(chunk: Buffer): Buffer[] {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const values: Buffer[] = []
    let start = 0
    for (let end = endOfValue(data, start); end !== undefined; end = endOfValue(data, start)) {
      values.push(data.subarray(start, end))
      start = end
    }
    this.#rest = data.subarray(start)
    return values
  }
}

/** The words of a command, its name in lower case, each cut off after 200 characters. */
export function wordsOf(command: Buffer): string[] {
  const [name = '', ...words] = textsOf(command)
  return [name.toLowerCase(), ...words]
}

function textsOf(command: Buffer): string[] {
  if (kindAt(command, 0) !== '*') return command.toString('latin1').trim().split(' ')
  const words: string[] = []
  let at = endOfLine(command, 0)
  while (at !== undefined && at < command.length) {
    const start = endOfLine(command, at)
    const end = endOfValue(command, at)
    if (start === undefined || end === undefined) break
    words.push(command.toString('latin1', start, Math.min(end - 2, start + 200)))
    at = end
  }
  return words
}

/** News to a subscriber: no reply to anything. */
export function isPush(value: Buffer): boolean {
  return kindAt(value, 0) === '>'
}

function endOfValue(data: Buffer, start: number): number | undefined {
  let at = start
  // Values that are still to be read, those inside of others among them.
  for (let left = 1; left > 0; left -= 1) {
    const after = endOfLine(data, at)
    if (after === undefined) return undefined
    const kind = kindAt(data, at)
    const count = Math.max(0, Number(data.toString('latin1', at + 1, after - 2)))
    // A negative length says that there is nothing, and nothing follows.
    const isNothing = kindAt(data, at + 1) === '-'
    at = after
    if ('$!='.includes(kind) && !isNothing) at += count + 2
    if ('*~>'.includes(kind)) left += count
    if (kind === '%') left += 2 * count
    if (kind === '|') left += 2 * count + 1
    if (at > data.length) return undefined
  }
  return at
}

function kindAt(data: Buffer, at: number): string {
  return String.fromCharCode(data[at] ?? 0)
}

function endOfLine(data: Buffer, at: number): number | undefined {
  const end = data.indexOf('\r\n', at)
  return end < 0 ? undefined : end + 2
}
