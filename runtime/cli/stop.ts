/** `muster stop`: the node of this data directory drains and goes. */
import { UnavailableError, UsageError } from '../../actors/errors.ts'
import { liveNodeFiles } from '../node-file.ts'
import { type DrainFlags, sendAway } from './drain.ts'
import type { Invocation } from './invocation.ts'
import { type Located, locate, namedUrl } from './locate.ts'
import { dataDirOf } from './settings.ts'

export async function stop(invocation: Invocation, flags: DrainFlags): Promise<number> {
  const { muster } = await locateOne(invocation)
  const { id } = await muster.tree()
  return sendAway(invocation, muster, id, { reason: 'muster stop', ...flags })
}

/** Where there are several nobody can know which one is meant. */
async function locateOne(invocation: Invocation): Promise<Located> {
  const { globals } = invocation
  if (namedUrl(globals) !== undefined) return locate(invocation)
  const dataDir = dataDirOf(globals)
  const files = liveNodeFiles(dataDir)
  const [file, ...others] = files
  if (file === undefined) throw new UnavailableError(`no node is running on ${dataDir}`)
  if (others.length > 0) {
    const names = files.map(({ id }) => id).sort()
    throw new UsageError(
      `expected one node on ${dataDir}, got ${names.join(', ')}: muster drain NODE`,
    )
  }
  try {
    return await locate(invocation)
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error
    const { id, pid, url } = file
    throw new UnavailableError(
      `node ${id} is there and does not answer at ${url}; end it by its process: kill ${pid}`,
      { cause: error },
    )
  }
}
