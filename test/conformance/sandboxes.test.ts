import { afterAll } from 'bun:test'
import type { SandboxBase } from '../../actors/ports-sandbox.ts'
import { dockerSandboxes } from '../../runtime/execute/container/docker.ts'
import { namespaceSandboxes } from '../../runtime/execute/container/namespace.ts'
import { becomeOwner } from '../../runtime/execute/container/owner.ts'
import { memorySandboxes } from '../../runtime/memory/sandboxes.ts'
import { startPodman } from '../kit/podman.ts'
import { makeRoot, rootProblem } from '../kit/rootfs.ts'
import { silent } from '../runtime/command-runner.ts'
import { sandboxesConformance } from './sandboxes.ts'

const of = (base: Pick<SandboxBase, 'root' | 'image'>): SandboxBase => ({
  ...base,
  network: 'none',
  limits: {},
})

sandboxesConformance('memory', {
  sandboxes: memorySandboxes({ '/base': ['/etc/base'] }),
  base: of({ root: '/base' }),
  missing: of({ root: '/not-there' }),
  endless: ['wait'],
})

const owner = becomeOwner()
afterAll(() => owner.release())

const problem = rootProblem()
if (problem === undefined) {
  sandboxesConformance('namespaces', {
    sandboxes: namespaceSandboxes({ owner, scratchBytes: 64 * 1024 * 1024, log: silent }),
    base: of({ root: makeRoot() }),
    missing: of({ root: '/not-there' }),
    endless: ['sleep', '1000'],
  })
} else console.log(`skipped, sandboxes by namespaces: ${problem}`)

const podman = startPodman()
if (typeof podman !== 'string') {
  const { program, image } = podman
  afterAll(() => podman.remove())
  sandboxesConformance('Podman', {
    sandboxes: dockerSandboxes({ owner, program, log: silent }),
    base: of({ image }),
    missing: of({ image: 'localhost/not-there:1' }),
    endless: ['sleep', '1000'],
  })
} else console.log(`skipped, sandboxes by Podman: ${podman}`)
