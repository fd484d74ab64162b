/** Many who wait for one signal. */
import { expect, test } from 'bun:test'
import { Abortions } from '../../runtime/execute/abortions.ts'

test('each of many hears of it once, and who has left does not', () => {
  const abortions = new Abortions()
  const { signal, abort } = controller()
  const heard: number[] = []
  const all = Array.from({ length: 100 }, (_, index) => () => void heard.push(index))
  for (const told of all) abortions.listen(signal, told)
  for (const told of all.slice(10)) abortions.leave(signal, told)
  abort()
  abort()
  expect(heard).toEqual(Array.from({ length: 10 }, (_, index) => index))
})

test('who comes too late hears of it at once', () => {
  const abortions = new Abortions()
  const { signal, abort } = controller()
  abort()
  let heard = 0
  abortions.listen(signal, () => (heard += 1))
  expect(heard).toBe(1)
})

test('one who leaves while others are told is not told any more', () => {
  const abortions = new Abortions()
  const { signal, abort } = controller()
  const heard: string[] = []
  const second = () => void heard.push('second')
  abortions.listen(signal, () => {
    heard.push('first')
    abortions.leave(signal, second)
  })
  abortions.listen(signal, second)
  abort()
  expect(heard).toEqual(['first'])
})

test('signals have nothing to do with each other', () => {
  const abortions = new Abortions()
  const [one, other] = [controller(), controller()]
  let heard = 0
  abortions.listen(one.signal, () => (heard += 1))
  other.abort()
  expect(heard).toBe(0)
})

function controller() {
  const own = new AbortController()
  return { signal: own.signal, abort: () => own.abort() }
}
