/**
 * Runs as a process of its own, in a mount namespace of its own, and has the file systems of all
 * sandboxes: each an overlay of a root that nobody writes to, and of what is written, in memory.
 * Whatever becomes of its node, the namespace ends with it, and with that every mount.
 *
 *   unshare --mount … bun keeper.ts HOME
 *
 * It reads a request a line, `{id, op, slot, root?, bytes?}`, and answers each with a line
 * `{id, error?: {code, message}}`; its first line is the answer to request 0, which nobody asked.
 */
import { dlopen, FFIType, read } from 'bun:ffi'
import { mkdirSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Of <sys/mount.h> and <sys/prctl.h>, the same on every Linux. */
const detach = 2
const noSuid = 2
const noDevices = 4
const setParentDeathSignal = 1
const killSignal = 9

const libraries = ['libc.so.6', `libc.musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`]
const { symbols } = openLibrary()
const [home = ''] = process.argv.slice(2)
const isRootless = process.argv.includes('--rootless')
/** What each slot is made of. */
const slots = new Map<string, { root: string; bytes: number }>()

function openLibrary() {
  const functions = {
    mount: {
      args: [FFIType.ptr, FFIType.ptr, FFIType.ptr, FFIType.u64, FFIType.ptr],
      returns: FFIType.i32,
    },
    umount2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
    prctl: { args: [FFIType.i32, FFIType.u64], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  } as const
  const [first = '', second = ''] = libraries
  try {
    return dlopen(first, functions)
  } catch {
    // Not the GNU one.
    return dlopen(second, functions)
  }
}

const text = (value: string) => Buffer.from(`${value}\0`)

class SystemError extends Error {
  readonly code: string
  constructor(what: string) {
    const at = symbols['__errno_location']()
    const errno = at === null ? 0 : read.i32(at, 0)
    const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0]
    super(`${what}: ${code ?? `error ${errno}`}`)
    this.code = code ?? 'UNKNOWN'
  }
}

function mount(type: string, target: string, options: string): void {
  const flags = noSuid | noDevices
  if (symbols.mount(text(type), text(target), text(type), flags, text(options)) !== 0) {
    throw new SystemError(`mount of ${type} on ${target}`)
  }
}

function unmount(target: string): void {
  if (symbols.umount2(text(target), detach) !== 0) throw new SystemError(`unmount of ${target}`)
}

/** In a list of options, these have a meaning of their own. */
const escaped = (path: string) => path.replaceAll(/[\\:,]/g, (sign) => `\\${sign}`)

function mountSlot(slot: string): void {
  const of = slots.get(slot)
  if (of === undefined) throw new Error(`there is no slot ${slot}`)
  const place = join(home, slot)
  if (!isDirectory(of.root)) {
    throw Object.assign(new Error(`there is no directory ${of.root}`), { code: 'BASE_MISSING' })
  }
  mkdirSync(place, { recursive: true })
  mount('tmpfs', place, `mode=755,size=${of.bytes}`)
  try {
    for (const part of ['upper', 'work', 'all']) mkdirSync(join(place, part))
    const layers = `lowerdir=${escaped(of.root)},upperdir=${place}/upper,workdir=${place}/work`
    mount('overlay', join(place, 'all'), isRootless ? `${layers},userxattr` : layers)
  } catch (error) {
    unmount(place)
    throw error
  }
}

/** @throws the operating system's error when that cannot be told */
function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // The latter where a part of the path is a file.
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw error
  }
}

function unmountSlot(slot: string): void {
  const place = join(home, slot)
  unmount(join(place, 'all'))
  unmount(place)
}

interface Request {
  id: number
  op: 'make' | 'reset' | 'drop'
  slot: string
  root?: string
  bytes?: number
}

function carryOut({ op, slot, root = '', bytes = 0 }: Request): void {
  if (op === 'make') {
    slots.set(slot, { root, bytes })
    try {
      mountSlot(slot)
    } catch (error) {
      slots.delete(slot)
      throw error
    }
    return
  }
  if (!slots.has(slot)) return
  unmountSlot(slot)
  if (op === 'reset') mountSlot(slot)
  else slots.delete(slot)
}

function answer(id: number, work: () => void): void {
  let error: { code: string; message: string } | undefined
  try {
    work()
  } catch (thrown) {
    const { message } = thrown instanceof Error ? thrown : new Error(String(thrown))
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : 'Error'
    error = { code, message }
  }
  process.stdout.write(`${JSON.stringify({ id, ...(error !== undefined && { error }) })}\n`)
}

symbols.prctl(setParentDeathSignal, killSignal)
answer(0, () => mount('tmpfs', home, 'mode=700,size=4m'))
const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const request = JSON.parse(line) as Request
  answer(request.id, () => carryOut(request))
})
// Without its node there is nothing left to keep.
lines.on('close', () => process.exit(0))
