/**
 * Many commands one after the other and side by side: nothing may be left of any. 1000 of them
 * always; SOAK_COMMANDS in the environment: so many (100000 is what the kind was built for).
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { eventually } from '../kit/eventually.ts'
import { commandRunner, sh } from './command-runner.ts'

const total = Number(process.env['SOAK_COMMANDS'] ?? 1000)
const isLinux = process.platform === 'linux'
if (!isLinux) console.log('skipped: what many commands leave behind, which /proc tells')

const { start, stop, exec } = commandRunner()
beforeAll(start)
afterAll(stop)

const descriptors = () => readdirSync('/proc/self/fd').length
const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim()
const residentMiB = () => process.memoryUsage.rss() / 2 ** 20

test.skipIf(!isLinux)(
  `${total} commands leave no zombie, no descriptor and no memory behind`,
  async () => {
    const memory = { memoryBytes: 2 ** 28 }
    const inputs = [
      { argv: ['true'] },
      { argv: ['no-such-program'] },
      { argv: ['cat'], stdin: 'text' },
      { argv: sh('sleep 60 & exit 3') },
      { argv: ['echo', 'limited'], limits: memory },
    ]
    let begun = 0
    const runTo = async (count: number) => {
      const lane = async () => {
        while (begun < count) {
          begun += 1
          await exec(inputs[begun % inputs.length] ?? {})
        }
      }
      await Promise.all([lane(), lane(), lane(), lane()])
      Bun.gc(true)
    }
    await runTo(total / 5)
    const before = { descriptors: descriptors(), children: children(), memory: residentMiB() }
    await runTo(total)
    await eventually(() => {
      expect(children()).toBe(before.children)
      expect(descriptors()).toBeLessThanOrEqual(before.descriptors)
    })
    expect(begun).toBeGreaterThanOrEqual(total)
    const now = { descriptors: descriptors(), children: children(), memory: residentMiB() }
    if (process.env['SOAK_COMMANDS'] !== undefined) console.log({ before, now })
    expect(now.memory - before.memory).toBeLessThan(64)
  },
  60_000 + total * 30,
)
