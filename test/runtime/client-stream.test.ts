import { describe, expect, test } from 'bun:test'
import { ndjsonPieces, readEvents, readLines } from '../../runtime/client-stream.ts'

function streamOf(...parts: string[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream({
    start(controller) {
      for (const part of parts) controller.enqueue(encoder.encode(part))
      controller.close()
    },
  })
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

describe('streams', () => {
  test('lines survive any cut, even within a character', async () => {
    const bytes = new TextEncoder().encode('a\nβγ\n\nd')
    for (let at = 0; at <= bytes.length; at += 1) {
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(bytes.subarray(0, at))
          controller.enqueue(bytes.subarray(at))
          controller.close()
        },
      })
      expect((await all(readLines(body))).flat()).toEqual(['a', 'βγ', '', 'd'])
    }
  })

  test('events may have several data lines, comments and carriage returns', async () => {
    const body = streamOf('event: x\r\ndata: 1\r\ndata:2\r\n\r\n: c\n\nid: 9\ndata: 3\n\n')
    expect(await all(readEvents(body))).toEqual([
      { event: 'x', data: '1\n2' },
      { id: '9', event: 'message', data: '3' },
    ])
  })

  test('pieces are at most 64 KiB and lose nothing', async () => {
    const tasks = Array.from({ length: 5000 }, (_, seq) => ({ kind: 'noop', id: `task-${seq}` }))
    const pieces = await all(ndjsonPieces([...tasks, new Uint8Array(200_000).fill(10)]))
    expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(65_536)
    const text = pieces.map((piece) => new TextDecoder().decode(piece)).join('')
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(tasks)
  })

  test('a task of a slow source does not wait for the next one', async () => {
    const never = Promise.withResolvers<void>()
    const source = (async function* () {
      yield { kind: 'noop' }
      await never.promise
    })()
    const pieces = ndjsonPieces(source)
    const first = await pieces.next()
    expect(new TextDecoder().decode(first.value ?? new Uint8Array())).toBe('{"kind":"noop"}\n')
    never.resolve()
    expect(await pieces.next()).toMatchObject({ done: true })
  })
})
