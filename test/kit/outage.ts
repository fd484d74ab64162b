/** Time that really passes: for outages of a given length, where there is no condition to await. */
export function lasting(ms: number): Promise<void> {
  return Bun.sleep(ms)
}
