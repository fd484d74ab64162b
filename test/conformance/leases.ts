/** What every implementation of the leases port must do. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { FencedError } from '../../actors/errors.ts'
import type { Acquired, Grant, Leases } from '../../actors/ports-fleet.ts'
import { eventually } from '../kit/eventually.ts'

/** Opens leases nobody has asked for before; the suite closes them. */
export type OpenLeases = () => Promise<Leases>

const long = 60_000
const short = 60
const alice = 'node-a/boot-1/1.1'
const bob = 'node-b/boot-7/1.1'

export function leasesConformance(open: OpenLeases): void {
  let leases: Leases
  beforeEach(async () => {
    leases = await open()
  })
  afterEach(() => leases.close())

  const epochOf = (acquired: Acquired): number => {
    if (!acquired.granted) throw new Error(`expected a grant, got ${acquired.heldForMs} ms to wait`)
    return acquired.epoch
  }
  const grantOf = async (name: string, owner: string, ttlMs = long): Promise<Grant> => {
    const epoch = epochOf(await leases.acquire(name, owner, ttlMs))
    return { name, owner, epoch }
  }
  const grantedAtLast = (name: string, owner: string) => eventually(() => grantOf(name, owner))
  const isRefused = async (attempt: Promise<void>, epoch: number) => {
    const error = await attempt.then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(FencedError)
    expect(error).toMatchObject({ code: 'FENCED', lease: 'a', epoch })
  }
  const heard = async () => {
    const names: (string | undefined)[] = []
    const unwatch = await leases.watch((name) => names.push(name))
    return { names, unwatch }
  }

  describe('acquiring', () => {
    test('a lease nobody holds is granted, at an epoch that is a time', async () => {
      const before = Date.now()
      const { epoch } = await grantOf('a', alice)
      expect(epoch).toBeGreaterThanOrEqual(before - 1000)
      expect(epoch).toBeLessThan(Date.now() + 1000)
    })

    test('a lease somebody holds is refused, with the time it has left', async () => {
      await grantOf('a', alice)
      const refused = await leases.acquire('a', bob, 1000)
      if (refused.granted) throw new Error('expected a refusal')
      expect(refused.heldForMs).toBeGreaterThan(long - 5000)
      expect(refused.heldForMs).toBeLessThanOrEqual(long)
    })

    test('leases do not get in the way of each other', async () => {
      await grantOf('a', alice)
      await grantOf('b', bob)
      expect(await leases.acquire('b', alice, long)).toMatchObject({ granted: false })
    })

    test('the holder who asks again gets the same epoch and the whole ttl', async () => {
      const { epoch } = await grantOf('a', alice, 1000)
      expect(await leases.acquire('a', alice, long)).toEqual({ granted: true, epoch })
      expect((await leases.list())[0]?.ttlMs).toBeGreaterThan(long - 5000)
    })

    test('another attempt of the holder is somebody else', async () => {
      await grantOf('a', alice)
      const again = await leases.acquire('a', 'node-a/boot-1/1.2', long)
      expect(again).toMatchObject({ granted: false })
    })

    test('when the ttl has passed another gets it, at a later epoch', async () => {
      const first = await grantOf('a', alice, short)
      const second = await grantedAtLast('a', bob)
      expect(second.epoch).toBeGreaterThan(first.epoch)
    })

    test('epochs grow with every grant, however fast', async () => {
      const epochs: number[] = []
      for (let grants = 0; grants < 20; grants += 1) {
        const grant = await grantOf('a', `node-a/boot-1/1.${grants}`)
        epochs.push(grant.epoch)
        await leases.release(grant)
      }
      expect(epochs).toEqual([...new Set(epochs)].sort((one, other) => one - other))
    })
  })

  describe('renewing', () => {
    test('a renewed lease has the whole ttl again', async () => {
      const grant = await grantOf('a', alice, 1000)
      expect(await leases.renew(grant, long)).toBe(true)
      expect((await leases.list())[0]?.ttlMs).toBeGreaterThan(long - 5000)
    })

    test('a lease that has run out is not renewed', async () => {
      const grant = await grantOf('a', alice, short)
      await eventually(async () => expect(await leases.list()).toEqual([]))
      expect(await leases.renew(grant, long)).toBe(false)
      expect(await leases.list()).toEqual([])
    })

    test('neither another owner nor another epoch renews a lease', async () => {
      const grant = await grantOf('a', alice)
      expect(await leases.renew({ ...grant, owner: bob }, long)).toBe(false)
      expect(await leases.renew({ ...grant, epoch: grant.epoch - 1 }, long)).toBe(false)
      expect(await leases.renew({ ...grant, name: 'b' }, long)).toBe(false)
      expect(await leases.renew(grant, long)).toBe(true)
    })
  })

  describe('releasing', () => {
    test('a released lease is free at once, and those who wait hear of it', async () => {
      const { names } = await heard()
      const grant = await grantOf('a', alice)
      expect(await leases.release(grant)).toBe(true)
      await eventually(() => expect(names).toEqual(['a']))
      const next = await grantOf('a', bob)
      expect(next.epoch).toBeGreaterThan(grant.epoch)
    })

    test('a grant that is lost releases nothing', async () => {
      const { names } = await heard()
      const lost = await grantOf('a', alice, short)
      const held = await grantedAtLast('a', bob)
      expect(await leases.release(lost)).toBe(false)
      expect(await leases.release({ ...held, epoch: lost.epoch })).toBe(false)
      expect(await leases.renew(held, long)).toBe(true)
      expect(await leases.release(held)).toBe(true)
      expect(await leases.release(held)).toBe(false)
      await eventually(() => expect(names).toEqual(['a']))
    })

    test('who has unsubscribed hears nothing more, the others do', async () => {
      const gone = await heard()
      const there = await heard()
      await gone.unwatch()
      await leases.release(await grantOf('a', alice))
      await eventually(() => expect(there.names).toEqual(['a']))
      expect(gone.names).toEqual([])
    })
  })

  describe('revoking', () => {
    test('a revoked lease is lost to its holder, and those who wait hear of it', async () => {
      const { names } = await heard()
      const grant = await grantOf('a', alice)
      expect(await leases.revoke('a', 'drill')).toMatchObject({
        name: 'a',
        holder: 'node-a',
        epoch: grant.epoch,
      })
      expect(await leases.renew(grant, long)).toBe(false)
      await eventually(() => expect(names).toEqual(['a']))
    })

    test('nobody is told when nobody held it', async () => {
      const { names } = await heard()
      expect(await leases.revoke('a', 'drill')).toBeUndefined()
      await leases.release(await grantOf('b', alice))
      await eventually(() => expect(names).toEqual(['b']))
    })
  })

  test('the list shows what is held, by name, and nothing else', async () => {
    expect(await leases.list()).toEqual([])
    const b = await grantOf('b', bob)
    const a = await grantOf('a', alice)
    await leases.release(await grantOf('released', alice))
    const ttl = expect.any(Number)
    const since = expect.any(Number)
    expect(await leases.list()).toEqual([
      { name: 'a', holder: 'node-a', epoch: a.epoch, since, ttlMs: ttl },
      { name: 'b', holder: 'node-b', epoch: b.epoch, since, ttlMs: ttl },
    ])
    const [first] = await leases.list()
    expect(Math.abs((first?.since ?? 0) - Date.now())).toBeLessThan(5000)
  })

  describe('writing under a lease', () => {
    test('what the holder writes can be read by anybody', async () => {
      const grant = await grantOf('a', alice)
      await leases.put(grant, 'state', 'RECOVERY')
      await leases.put(grant, 'state', 'OPERATIONAL')
      await leases.put(grant, 'why', 'booted')
      expect(await leases.get('a', 'state')).toBe('OPERATIONAL')
      expect(await leases.get('a', 'why')).toBe('booted')
      expect(await leases.get('a', 'other')).toBeUndefined()
      expect(await leases.get('b', 'state')).toBeUndefined()
    })

    test('it stays for the next holder', async () => {
      const grant = await grantOf('a', alice)
      await leases.put(grant, 'state', 'PAUSED')
      await leases.release(grant)
      await grantOf('a', bob)
      expect(await leases.get('a', 'state')).toBe('PAUSED')
    })

    test('a write of an earlier grant is refused as soon as there is a newer one', async () => {
      const old = await grantOf('a', alice, short)
      const held = await grantedAtLast('a', bob)
      await leases.put(held, 'state', 'new')
      await isRefused(leases.put(old, 'state', 'old'), old.epoch)
      expect(await leases.get('a', 'state')).toBe('new')
      await leases.release(held)
      await isRefused(leases.put(old, 'state', 'old'), old.epoch)
    })

    test('the last holder may still write while nobody has got it since', async () => {
      const grant = await grantOf('a', alice)
      await leases.release(grant)
      await leases.put(grant, 'state', 'last words')
      expect(await leases.get('a', 'state')).toBe('last words')
    })

    test('a grant that nothing is known of writes nothing', async () => {
      await isRefused(leases.put({ name: 'a', epoch: 7 }, 'state', 'old'), 7)
      expect(await leases.get('a', 'state')).toBeUndefined()
    })

    test('an epoch passes the check until there is a newer grant', async () => {
      const old = await grantOf('a', alice)
      await leases.check('a', old.epoch)
      await leases.check('b', 1)
      await leases.release(old)
      await leases.check('a', old.epoch)
      const held = await grantOf('a', bob)
      await leases.check('a', held.epoch)
      await isRefused(leases.check('a', old.epoch), old.epoch)
    })
  })
}
