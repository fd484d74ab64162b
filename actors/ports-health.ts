/** What the actors need of the world to know how well a node is. */
import type { HealthSeen } from '../machines/health-level.ts'
import type { SelfTest } from '../machines/health-watch.ts'

export interface HealthSensors {
  /**
   * Blocks the event loop for a moment, on purpose, and tells what the sensors saw of it. What was
   * seen so is counted nowhere.
   */
  prove(): Promise<SelfTest>
  /** One look; those before it are what it is compared with. */
  look(): void
  /** What is seen now. */
  read(): HealthSeen
  /** Of the node, its worker processes included. */
  memoryBytes(): number
  /** Asks for a collection of what nobody uses any more; it takes place soon, or later. */
  collect(): void
}

/** What is usual, kept from one start of a node to the next. */
export interface BaselineStore {
  /** Undefined: there is none, or none that can be understood. */
  load(): Promise<unknown>
  save(kept: unknown): Promise<void>
}
