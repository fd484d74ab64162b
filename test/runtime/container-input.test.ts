import { describe, expect, test } from 'bun:test'
import { containerInput } from '../../actors/container-input.ts'

const root = '/srv/root'
const argv = ['true']

describe('container input', () => {
  const problem = (input: unknown) => {
    const issue = containerInput.safeParse(input).error?.issues[0]
    return issue === undefined ? undefined : `${issue.path.join('.')}: ${issue.message}`
  }

  test.each([
    [{ root, argv }],
    [{ image: 'docker.io/library/debian:12', argv }],
    [{ root, argv, env: { A: '' }, cwd: '/', stdin: '', network: 'none' }],
    [{ root, argv, network: 'host', limits: { memoryBytes: 1, cpuSeconds: 1, pids: 1 } }],
  ])('%j is taken', (input) => expect(problem(input)).toBeUndefined())

  test.each<[unknown, string]>([
    [{ argv }, 'root: expected either "image" or "root", got neither'],
    [{ root, image: 'a', argv }, 'image: expected either "image" or "root", got both'],
    [{ root: 'srv', argv }, 'root: expected an absolute path'],
    [{ root: '/a\0b', argv }, 'root: expected an absolute path'],
    [{ root: '/a/../..', argv }, 'root: expected a path without ".."'],
    [{ root: '//./', argv }, 'root: expected a directory with a root file system of its own'],
    [{ image: '--privileged', argv }, 'image: expected the name of an image'],
    [{ image: 'a b', argv }, 'image: expected the name of an image'],
    [{ image: '', argv }, 'image: expected the name of an image'],
    [{ root }, 'argv: expected a non-empty array of strings, got nothing'],
    [{ root, argv: 'ls' }, 'argv: expected a non-empty array of strings, got the string "ls"'],
    [{ root, argv: [] }, 'argv: expected a non-empty array of strings, got an empty array'],
    [{ root, argv: ['a\0'] }, 'argv.0: expected a string without NUL'],
    [{ root, argv, cwd: 'tmp' }, 'cwd: expected an absolute path'],
    [{ root, argv, env: { 'A=B': '' } }, 'env.A=B: '],
    [{ root, argv, env: { A: 'b\0' } }, 'env.A: expected a string without NUL'],
    [{ root, argv, stdin: 5 }, 'stdin: '],
    [{ root, argv, limits: { pids: 0 } }, 'limits.pids: '],
    [{ root, argv, limits: { pids: 4_194_305 } }, 'limits.pids: '],
    [{ root, argv, limits: { disk: 1 } }, 'limits: Unrecognized key: "disk"'],
    [{ root, argv, network: 'bridge' }, 'network: '],
    [{ root, argv, privileged: true }, ': Unrecognized key: "privileged"'],
  ])('%j is refused with its place', (input, message) => {
    expect(problem(input)).toStartWith(message)
  })
})
