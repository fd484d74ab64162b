/** The keys of `[worker]` that say how commands, requests and handlers are run. */
import { choice, optionalText, whole } from './key.ts'

const mebibyte = 1_048_576

const phase = (ms: number, what: string) =>
  whole(ms, { min: 1, max: 86_400_000, zeroToo: true }, `${what}, ms; 0: as long as the attempt.`)

export const execution = {
  commandCgroups: choice(
    ['auto', 'off'],
    'auto',
    'Whether each command gets a cgroup of its own, where this machine allows it.',
  ),
  commandThreads: whole(
    4,
    { min: 0, max: 64 },
    'Threads that start commands which come in numbers, at most one a core; 0 is none.',
  ),
  httpConcurrency: whole(256, { min: 1, max: 10_000 }, 'Requests (http) under way at a time.'),
  httpResolveMs: phase(10_000, 'Time for a request (http) to find the addresses of its host'),
  httpConnectMs: phase(10_000, 'Time for a request to connect, of each address of its host'),
  httpTlsMs: phase(10_000, 'Time for a request until its connection is encrypted'),
  httpProcessingMs: phase(0, 'Time for the first byte of an answer, once the request was sent'),
  httpTransferMs: phase(0, 'Time for the rest of an answer'),
  httpLinkLocal: choice(
    ['refuse', 'allow'],
    'refuse',
    'Whether requests may go to link-local addresses, and those where clouds keep credentials.',
  ),
  httpCaFile: optionalText(
    /^[^\p{Cc}\p{Cs}]+$/u,
    'the path of a file',
    'Certificates (PEM) of the authorities to trust, instead of the usual ones.',
    { example: './authorities.pem' },
  ),
  handlerMemoryMax: whole(
    2048 * mebibyte,
    { min: 64 * mebibyte, max: 2 ** 50, zeroToo: true },
    'Memory, in bytes, at which a handler with a process of its own is ended; 0 is no limit.',
  ),
}
