/**
 * Where a request may go. What is only ever meant for this very machine's keeper (link-local, and
 * the addresses under which clouds hand out credentials) is refused; by the address that will be
 * connected to, because a name may mean another one the next time.
 */
import { lookup } from 'node:dns/promises'
import { BlockList, isIP } from 'node:net'
import { MusterError } from '../../../actors/errors.ts'

const refused = new BlockList()
refused.addSubnet('169.254.0.0', 16, 'ipv4')
refused.addSubnet('fe80::', 10, 'ipv6')
// Metadata services of clouds that are not link-local: Alibaba, Azure, Oracle, AWS, Google and
// Scaleway.
refused.addAddress('100.100.100.200', 'ipv4')
refused.addAddress('168.63.129.16', 'ipv4')
refused.addAddress('192.0.0.192', 'ipv4')
refused.addAddress('fd00:ec2::254', 'ipv6')
refused.addAddress('fd20:ce::254', 'ipv6')
refused.addAddress('fd00:42::42', 'ipv6')

/** IPv4 in the clothes of IPv6: mapped, compatible, translated (RFC 6052, RFC 8215), and 6to4. */
const wrapped = /^(?:::ffff:|::|64:ff9b:(?:1:)?:)(?<high>[0-9a-f]{1,4}):(?<low>[0-9a-f]{1,4})$/
const tunnelled = /^2002:(?<high>[0-9a-f]{1,4}):(?<low>[0-9a-f]{1,4})(?::|$)/

export function isRefused(address: string): boolean {
  const plain = address.replace(/%.*$/, '').toLowerCase()
  if (isIP(plain) === 4) return refused.check(plain, 'ipv4')
  const found = canonical(plain)
  const match = wrapped.exec(found) ?? tunnelled.exec(found)
  const { high, low } = match?.groups ?? {}
  if (high !== undefined && low !== undefined) {
    const bits = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16)
    const parts = [24, 16, 8, 0].map((shift) => Math.floor(bits / 2 ** shift) % 256)
    if (refused.check(parts.join('.'), 'ipv4')) return true
  }
  return refused.check(plain, 'ipv6')
}

/** The one way of writing an IPv6 address that URL knows. */
function canonical(address: string): string {
  const url = `http://[${address}]/`
  return URL.canParse(url) ? new URL(url).hostname.slice(1, -1) : address
}

export type Lookup = (host: string) => Promise<readonly { address: string }[]>

/** As the operating system resolves names. */
export const systemLookup: Lookup = (host) => lookup(host, { all: true })

/**
 * The addresses behind a host of a URL that may be connected to.
 * @throws MusterError ADDRESS_REFUSED, or what resolving it said
 */
export async function addressesOf(
  hostname: string,
  resolve: Lookup,
  isAllowed: boolean,
): Promise<string[]> {
  const literal = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  const all =
    isIP(literal) === 0 ? (await resolve(literal)).map(({ address }) => address) : [literal]
  const good = isAllowed ? all : all.filter((address) => !isRefused(address))
  if (good.length > 0) return good
  if (all.length === 0) throw new MusterError('ENOTFOUND', `${hostname} has no address`)
  throw new MusterError(
    'ADDRESS_REFUSED',
    `${hostname} is ${all.join(', ')}, a link-local or metadata address; ` +
      'set worker.httpLinkLocal = "allow" if requests to such are meant',
  )
}
