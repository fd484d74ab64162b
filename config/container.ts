/** The keys of `[worker]` that say how tasks of kind `container` are run. */
import { choice, duration, optionalText, whole } from './key.ts'

const second = 1000
const hour = 3_600_000
const mebibyte = 1_048_576

export const container = {
  containerMode: choice(
    ['pooled', 'ephemeral', 'host'],
    'pooled',
    'Containers used again after a reset; made for each task; or none, and the machine itself.',
  ),
  containerSlots: whole(
    20,
    { min: 1, max: 1000 },
    'Containers at a time, of all roots and images.',
  ),
  containerProvider: choice(
    ['auto', 'namespace', 'docker'],
    'auto',
    'Who makes them: namespaces (of a root), Podman or Docker (of an image), or each its own.',
  ),
  containerProgram: optionalText(
    /^[^\p{Cc}\p{Cs}]+$/u,
    'the name or the path of a program',
    'Podman, Docker or what behaves like them; without it whichever is there, Podman first.',
    { example: '/usr/bin/podman' },
  ),
  containerCheckoutMs: duration(
    10 * second,
    { min: 10, max: hour },
    'How long a task waits for a container that is free.',
  ),
  containerEphemeralRate: whole(
    10,
    { min: 1, max: 100_000 },
    'Containers made for one task each, a second; what is beyond it is refused and tried again.',
  ),
  containerScratchBytes: whole(
    256 * mebibyte,
    { min: mebibyte, max: 2 ** 40 },
    'What may be written in one container of a root; it is kept in memory and gone with the task.',
  ),
}
