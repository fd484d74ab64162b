/**
 * Fences: what is done in the name of a lease carries its epoch, and is refused as soon as there is
 * a newer grant. Whoever was paused, or ignores that it was told to stop, can harm nobody that way.
 */
import { FencedError } from './errors.ts'
import type { Tenure } from './lease.ts'
import type { Fence, FencingToken, Leases } from './ports-fleet.ts'

/**
 * The fence of whoever holds a lease: nothing passes it once the tenure is over, by the monotonic
 * clock, or once Redis has refused it.
 * @param onFenced told when Redis refuses what the tenure still allows
 */
export function fenceOf(
  tenure: Tenure,
  leases: Leases,
  onFenced: () => void = () => undefined,
): Fence {
  const { name, epoch } = tenure.grant
  return makeFence({ lease: name, epoch }, leases, () => tenure.assert(), onFenced)
}

/** The fence of work that was sent by a holder: it knows what Redis last said. */
export function fenceOfEnvelope({ lease, epoch }: FencingToken, leases: Leases): Fence {
  const pass = () => undefined
  return makeFence({ lease, epoch }, leases, pass, pass)
}

function makeFence(
  { lease, epoch }: FencingToken,
  leases: Leases,
  assertTenure: () => void,
  onFenced: () => void,
): Fence {
  let refusal: FencedError | undefined

  const assert = () => {
    // Epochs only grow: who was refused once is refused for good.
    if (refusal !== undefined) throw refusal
    assertTenure()
  }

  const pass = async (operation: () => Promise<void>): Promise<void> => {
    assert()
    try {
      await operation()
    } catch (error) {
      if (error instanceof FencedError && refusal === undefined) {
        refusal = error
        onFenced()
      }
      throw error
    }
  }

  return {
    lease,
    epoch,
    assert,
    put: (key, value) => pass(() => leases.put({ name: lease, epoch }, key, value)),
    get: (key) => leases.get(lease, key),
    check: () => pass(() => leases.check(lease, epoch)),
  }
}
