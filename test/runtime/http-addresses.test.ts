/** Addresses that only the keeper of a machine is meant to ask, however they are written. */
import { expect, test } from 'bun:test'
import { isRefused } from '../../runtime/execute/http/addresses.ts'

test.each([
  '169.254.169.254',
  '169.254.0.1',
  'fe80::1%eth0',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  'fd00:ec2::254',
  'fd20:ce::254',
  'fd00:42::42',
  '64:ff9b:1::a9fe:a9fe',
  '64:ff9b:1::169.254.169.254',
  '2002:a9fe:a9fe::',
  '2002:a9fe:a9fe:1::1',
  '100.100.100.200',
])('%s is refused', (address) => expect(isRefused(address)).toBe(true))

test.each([
  '127.0.0.1',
  '10.1.2.3',
  '::1',
  '2001:db8::1',
  '::ffff:10.0.0.1',
  '2002:a01:203::1',
  '64:ff9b:1::a01:203',
])('%s is not', (address) => expect(isRefused(address)).toBe(false))
