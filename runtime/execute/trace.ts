/**
 * W3C trace context (https://www.w3.org/TR/trace-context/): one trace for each run, one span for
 * each attempt at a task. Made of their names, so that whoever knows the run finds its trace.
 */
import type { ExecuteContext } from '../../actors/ports.ts'

const hex = (text: string, seed: bigint) => {
  const hash = BigInt.asUintN(64, Bun.hash.wyhash(text, seed))
  // All zeros is no id.
  return (hash === 0n ? 1n : hash).toString(16).padStart(16, '0')
}

let lastRun = ''
let lastTrace = ''

/** As the environment variable TRACEPARENT and the header `traceparent` carry it. */
export function traceparentOf({ run, seq, attempt }: ExecuteContext): string {
  if (run !== lastRun) {
    lastRun = run
    lastTrace = hex(run, 1n) + hex(run, 2n)
  }
  return `00-${lastTrace}-${hex(`${run}/${seq}/${attempt}`, 3n)}-01`
}
