/** `muster submit`: hand tasks over and return. */
import { Departure } from './departure.ts'
import { exitCodes } from './exit.ts'
import { sayRejections } from './follow.ts'
import { checkStrictly, type RunFlags, readsTwice, submitOptions } from './intake.ts'
import type { Invocation } from './invocation.ts'
import { locate } from './locate.ts'
import { Progress } from './progress.ts'
import { dataDirOf } from './settings.ts'
import { openSource, type Source } from './source.ts'

export async function submit(
  invocation: Invocation,
  file: string,
  flags: RunFlags & { wait?: boolean },
): Promise<number> {
  if (flags.wait === true) {
    const { run } = await import('./run.ts')
    return run(invocation, file, flags)
  }
  const { terminal } = invocation
  const departure = new Departure(undefined)
  const progress = new Progress(terminal)
  let source: Source | undefined
  try {
    source = await openSource(file, dataDirOf(invocation.globals), readsTwice(flags))
    const { muster } = await locate(invocation)
    const { bytes } = source
    if (readsTwice(flags)) {
      const code = await checkStrictly(muster, source, terminal, progress, flags, departure)
      if (code !== undefined) return code
    }
    const handle = await muster.submit(source.open(), {
      ...submitOptions(source, flags),
      signal: departure.signal,
      onSent: (sent) => progress.sent(sent, bytes),
    })
    progress.stop()
    sayRejections(handle, terminal)
    const { id, accepted, rejectedCount, rejected } = handle
    if (terminal.json) {
      const answer = { run: id, accepted, rejectedCount, rejected }
      await terminal.print(`${JSON.stringify(answer)}\n`)
    } else {
      terminal.say(`accepted ${accepted}, rejected ${rejectedCount}; follow it: muster watch ${id}`)
      await terminal.print(`${id}\n`)
    }
    return rejectedCount > 0 ? exitCodes.notOk : exitCodes.ok
  } catch (error) {
    if (Departure.of(error) === undefined) throw error
    terminal.warn('muster: detached before every task was handed over; the same command goes on')
    return exitCodes.detached
  } finally {
    progress.stop()
    await source?.remove()
    departure.dispose()
  }
}
