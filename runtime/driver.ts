/** Who drives a run, as its record names it. */
import { hostname } from 'node:os'
import { isAlive } from './node-file.ts'

/** This process on this host. */
export function driverName(): string {
  return `${hostname()}/${process.pid}`
}

/** Of other hosts nothing is known here. */
export function isDriverGone(driver: string): boolean {
  const [host, pid] = driver.split('/')
  return host === hostname() && !isAlive(Number(pid))
}
