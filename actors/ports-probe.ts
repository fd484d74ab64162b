/** What the prober needs of the world: somebody who asks an endpoint how it is. */

/** Something outside that is asked whether it is well. */
export interface Endpoint {
  name: string
  url: string
}

export interface Probes {
  /**
   * Asks once; what it answers when it is well, and nothing else, resolves.
   * @throws an error with a code that says what was wrong, and when the signal aborts
   */
  probe(endpoint: Endpoint, signal: AbortSignal): Promise<void>
  close(): Promise<void>
}
