/** Who drives a run, as its record names it. */
import { hostname } from 'node:os'
import { isAlive } from './node-file.ts'

/** This node in this process on this host: a process may have several, one after the other. */
export function driverName(): string {
  return `${hostname()}/${process.pid}/${crypto.randomUUID().slice(0, 8)}`
}

/** Of other hosts nothing is known here. */
export function isDriverGone(driver: string): boolean {
  const [host, pid] = driver.split('/')
  return host === hostname() && !isAlive(Number(pid))
}
