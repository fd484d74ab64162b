/** What the actors need of the world to publish and to subscribe. */

/** A message as it is kept in the mailbox of a durable subscription, and told to soft ones. */
export interface TopicMessage {
  v: 1
  /** The same however often it is delivered. */
  id: string
  topic: string
  /** Plain JSON. */
  data: unknown
  /** Epoch ms at which it was published. */
  at: number
  /** 1 is the first; counts what was tried in vain, within one durable subscription. */
  attempt: number
  /** Over how many subscriptions it has come: their handlers published it on. */
  hops: number
}

/** A durable subscription: a mailbox of its own, shared by all who handle its messages. */
export interface DurableGroup {
  /** 1 to 64 letters, digits, '_' and '-'. */
  group: string
  pattern: string
}

export type TopicListener = (message: TopicMessage) => void

/** A soft listener that is further behind loses the oldest; at least so many are kept for it. */
export const softBacklog = 256

/**
 * Soft subscriptions, for traffic of which only the present counts: they reach whoever listens now,
 * at most once. And which durable ones there are; their messages are in mailboxes.
 * @throws UnavailableError where Redis does not answer in time; it may have done it all the same
 */
export interface Topics {
  /** Tells everybody who listens now. @returns how many listeners that are */
  tell(message: TopicMessage): Promise<number>
  /**
   * Called, one message after the other, with what is told from the time on at which the promise
   * has resolved. What it throws is logged. After an outage it goes on; what was told meanwhile may
   * be lost. Returns an unsubscribe function, which does not throw.
   * @param boot of the node that listens: its listening ends with it
   */
  listen(boot: string, pattern: string, listener: TopicListener): Promise<() => Promise<void>>
  /**
   * End what a boot listened to that is dead for good, or is leaving.
   * @returns whether it listened to anything
   */
  forget(boot: string): Promise<boolean>
  /** From when this has resolved, whoever publishes finds the group. Again: nothing changes. */
  declare(group: DurableGroup): Promise<void>
  /** Nothing new comes to it. What its mailbox has stays. @returns whether it was there */
  withdraw(group: DurableGroup): Promise<boolean>
  /** By group and pattern. */
  groups(): Promise<DurableGroup[]>
  close(): Promise<void>
}
