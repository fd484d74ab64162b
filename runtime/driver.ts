/** Who drives a run, as its record names it. */
import { isProcessGone, place } from './place.ts'

/** This boot of a node, in this process, in this place. */
export function driverName(boot: string): string {
  return `${place()}/${process.pid}/${boot}`
}

export function bootOf(driver: string): string {
  return driver.split('/')[2] ?? ''
}

/** Of other places nothing is known here. */
export function isDriverGone(driver: string): boolean {
  const [where, pid] = driver.split('/')
  return isProcessGone(where, Number(pid))
}
